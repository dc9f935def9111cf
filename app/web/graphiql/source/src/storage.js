// localStorage for tabs, history and settings, but never for headers: they hold keys.
// GraphiQL's shouldPersistHeaders={false} does not keep them out of its history.

const STRUCTURED = /:(tabState|queries|favorites)$/;

export const storage = {
  getItem: (name) => localStorage.getItem(name),
  setItem(name, value) {
    if (name.endsWith(":headers")) return;
    localStorage.setItem(name, STRUCTURED.test(name) ? withoutHeaders(value) : value);
  },
  removeItem: (name) => localStorage.removeItem(name),
  get length() {
    return own().length;
  },
  clear: () => own().forEach((name) => localStorage.removeItem(name)),
};

const own = () => Object.keys(localStorage).filter((name) => name.startsWith("graphiql:"));

const withoutHeaders = (json) => JSON.stringify(JSON.parse(json, (name, value) => (name === "headers" ? null : value)));
