/**
 * The view: window, filter, order and page, as a frozen value. It is stored in the fragment of the URL, so that it can be
 * shared, and never contains a credential.
 */

export const WINDOWS = {
  "1h": { name: "hour", last: "PT1H", twice: "PT2H" },
  "24h": { name: "24\u00a0h", last: "PT24H", twice: "PT48H" },
  "7d": { name: "7\u00a0d", last: "P7D", twice: "P14D" },
};
const KINDS = { projects: true, experiments: false, all: null };
const SIZES = [10, 20, 50, 100];

/** Columns that LangSmith can order by. */
const ORDERS = {
  name: "NAME",
  runs: "RUN_COUNT",
  p50: "LATENCY_P50",
  p99: "LATENCY_P99",
  errors: "ERROR_RATE",
  last: "LAST_RUN_START_TIME",
};
/** Columns that LangSmith cannot order by: the dashboard sorts the sessions of one page by them. */
const LOCAL = ["tokens", "cost"];

/**
 * `sort` is LangSmith's order, `local` the order within the page or "". A minus before the column means descending. The
 * default order is one that LangSmith knows without computing statistics, so that the first rows come at once.
 */
const DEFAULTS = Object.freeze({
  window: "24h",
  kind: "projects",
  search: "",
  sort: "name",
  local: "",
  page: 1,
  size: 20,
  compare: true,
});

/** Reads the view from the fragment of the URL; a missing or invalid value becomes its default. */
export function parseView(fragment) {
  const params = new URLSearchParams(fragment.replace(/^#/, ""));
  const valid = (name, isValid) => (isValid(params.get(name) ?? "") ? params.get(name) : DEFAULTS[name]);
  return Object.freeze({
    window: valid("window", (value) => Object.hasOwn(WINDOWS, value)),
    kind: valid("kind", (value) => Object.hasOwn(KINDS, value)),
    search: params.get("search") ?? "",
    sort: valid("sort", (value) => Object.hasOwn(ORDERS, columnOf(value))),
    local: valid("local", (value) => LOCAL.includes(columnOf(value))),
    page: Number(valid("page", (value) => /^[1-9]\d{0,5}$/.test(value))),
    size: Number(valid("size", (value) => SIZES.includes(Number(value)))),
    compare: params.get("compare") !== "no",
  });
}

/** The fragment of the URL for a view, with the values that differ from the defaults. */
export function fragmentOf(view) {
  const differing = Object.entries(view).filter(([name, value]) => value !== DEFAULTS[name]);
  const text = new URLSearchParams(differing.map(([name, value]) => [name, value === false ? "no" : value]));
  return differing.length ? `#${text}` : "";
}

/** The view with changes, at its first page unless the changes say otherwise. */
export const withChanges = (view, changes) => Object.freeze({ ...view, page: 1, ...changes });

/** The view after a click on a column: the first click sorts by it, the next one reverses the order. */
export function sortedBy(view, column) {
  const initial = column === "name" ? column : `-${column}`;
  const reversed = column === "name" ? `-${column}` : column;
  const next = (sort) => (sort === initial ? reversed : initial);
  if (LOCAL.includes(column)) return withChanges(view, { local: next(view.local), page: view.page });
  return withChanges(view, { sort: view.local ? initial : next(view.sort), local: "" });
}

/** The view in the default order; null if it has that order. */
export function inDefaultOrder(view) {
  return columnOf(view.sort) === columnOf(DEFAULTS.sort) ? null : withChanges(view, { sort: DEFAULTS.sort });
}

export const columnOf = (sort) => sort.replace(/^-/, "");
export const isDescending = (sort) => sort.startsWith("-");

/** Variables of the GraphQL operation. */
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
