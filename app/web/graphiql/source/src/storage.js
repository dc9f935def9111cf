// Stores tabs, history and settings in localStorage, but no headers, because headers contain keys.
// GraphiQL's shouldPersistHeaders={false} is not enough: the history would still contain headers.

const JSON_ITEMS = /:(tabState|queries|favorites)$/;

export const storage = {
  getItem: (name) => localStorage.getItem(name),
  setItem(name, value) {
    if (name.endsWith(":headers")) return;
    localStorage.setItem(name, JSON_ITEMS.test(name) ? withoutHeaders(value) : value);
  },
  removeItem: (name) => localStorage.removeItem(name),
  get length() {
    return names().length;
  },
  clear: () => names().forEach((name) => localStorage.removeItem(name)),
};

const names = () => Object.keys(localStorage).filter((name) => name.startsWith("graphiql:"));

const withoutHeaders = (json) => JSON.stringify(JSON.parse(json, (name, value) => (name === "headers" ? null : value)));
