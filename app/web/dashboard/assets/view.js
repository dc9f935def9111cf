/** What is looked at: a frozen value that lives in the URL's fragment, so that it can be shared. Never a credential. */

export const WINDOWS = {
  "1h": { name: "hour", last: "PT1H", twice: "PT2H" },
  "24h": { name: "24\u00a0h", last: "PT24H", twice: "PT48H" },
  "7d": { name: "7\u00a0d", last: "P7D", twice: "P14D" },
};
const KINDS = { projects: true, experiments: false, all: null };
const SIZES = [10, 20, 50, 100];

/** What LangSmith can order by; by the other columns a page is sorted here. */
const ORDERS = {
  name: "NAME",
  runs: "RUN_COUNT",
  p50: "LATENCY_P50",
  p99: "LATENCY_P99",
  errors: "ERROR_RATE",
  last: "LAST_RUN_START_TIME",
};
const LOCAL = ["tokens", "cost"];

/** `sort` is LangSmith's order; `local` that within the page, or "". A minus before the column: largest first. */
const DEFAULTS = Object.freeze({
  window: "24h",
  kind: "projects",
  search: "",
  sort: "-p99",
  local: "",
  page: 1,
  size: 20,
  compare: true,
});

export function viewOf(fragment) {
  const given = new URLSearchParams(fragment.replace(/^#/, ""));
  const one = (name, isRight) => (isRight(given.get(name) ?? "") ? given.get(name) : DEFAULTS[name]);
  return Object.freeze({
    window: one("window", (value) => Object.hasOwn(WINDOWS, value)),
    kind: one("kind", (value) => Object.hasOwn(KINDS, value)),
    search: given.get("search") ?? "",
    sort: one("sort", (value) => Object.hasOwn(ORDERS, columnOf(value))),
    local: one("local", (value) => LOCAL.includes(columnOf(value))),
    page: Number(one("page", (value) => /^[1-9]\d{0,5}$/.test(value))),
    size: Number(one("size", (value) => SIZES.includes(Number(value)))),
    compare: given.get("compare") !== "no",
  });
}

/** Only what differs from the page as it opens. */
export function fragmentOf(view) {
  const differing = Object.entries(view).filter(([name, value]) => value !== DEFAULTS[name]);
  const text = new URLSearchParams(differing.map(([name, value]) => [name, value === false ? "no" : value]));
  return differing.length ? `#${text}` : "";
}

/** Another view; it begins at its first page, unless that is what changes. */
export const changed = (view, changes) => Object.freeze({ ...view, page: 1, ...changes });

/** After the button of a column was used: the second time turns the order around. */
export function sorted(view, column) {
  const usual = column === "name" ? column : `-${column}`;
  const other = column === "name" ? `-${column}` : column;
  const turned = (sort) => (sort === usual ? other : usual);
  if (LOCAL.includes(column)) return changed(view, { local: turned(view.local), page: view.page });
  return changed(view, { sort: view.local ? usual : turned(view.sort), local: "" });
}

export const columnOf = (sort) => sort.replace(/^-/, "");
export const isDescending = (sort) => sort.startsWith("-");

export function variablesOf(view) {
  const { last, twice } = WINDOWS[view.window];
  return {
    first: view.size,
    offset: (view.page - 1) * view.size,
    filter: { nameContains: view.search || null, referenceFree: KINDS[view.kind] },
    order: { field: ORDERS[columnOf(view.sort)], direction: isDescending(view.sort) ? "DESC" : "ASC" },
    window: last,
    twice,
    compare: view.compare,
  };
}
