/**
 * The dashboard fetches the sessions of the view, shows them, and refreshes them every 15 seconds while the tab is visible.
 *
 *     view           window, filter, order and page, stored in the fragment of the URL
 *     credential     the viewer's key or token             form       where the viewer enters it
 *     gateway        sends the GraphQL operation           session    converts a row of the answer
 *     cards · bars · table · outcome · notice              the parts of the page
 *     figures · dom                                        formats of figures, and elements
 */
import { Bars } from "./bars.js";
import { Cards } from "./cards.js";
import { credentialHeaders, requiredKind, storedCredential } from "./credential.js";
import { $, element, setAttribute, setText } from "./dom.js";
import { asMoney, asSeconds, asShare, asTimeOfDay } from "./figures.js";
import { CredentialForm } from "./form.js";
import { fetchSessions } from "./gateway.js";
import { isOrderRefused, showFailures } from "./notice.js";
import { showDuration, showExplanation, showOperation } from "./outcome.js";
import { Table } from "./table.js";
import {
  columnOf, fragmentOf, inDefaultOrder, parseView, sortedBy, variablesOf, WINDOWS, withChanges,
} from "./view.js";

const REFRESH_MS = 15_000;
const SEARCH_DELAY_MS = 300;
const settings = JSON.parse($("data").textContent);
const kind = requiredKind(settings);

const form = kind && new CredentialForm(kind, () => load());
const cards = new Cards($("cards"));
const charts = [
  { title: "p99 latency", figure: "p99", text: asSeconds, none: "no latencies in this window" },
  { title: "Error rate", figure: "errors", text: asShare, none: "no errors in this window" },
  { title: "Cost", figure: "cost", text: asMoney, none: "no costs in this window" },
].map((chart) => new Bars($("charts"), chart));
const table = new Table($("rows"), document.querySelectorAll("[data-column]"));

let view = parseView(location.hash);
let shownSessions = null;
let orderNote = null; // why the view has another order than the viewer chose
let isPaused = false;
let nextRefreshAt = 0; // on the clock of performance.now()
let refreshTimer, searchTimer, requestInFlight;

/**
 * Fetches and shows the view. `inBackground`: a refresh, which neither dims the page nor is announced. `explains`: asks
 * the gateway what it did for the request.
 */
async function load({ inBackground = false, explains = false } = {}) {
  stop();
  if (kind && !storedCredential()) return requireCredential();
  const request = (requestInFlight = new AbortController());
  const variables = variablesOf(view);
  showOperation(variables, settings.graphiql);
  if (!inBackground) showLoading();
  const headers = { ...credentialHeaders(kind), ...(explains && { "X-Gateway-Explain": "1" }) };
  const answer = await fetchSessions(variables, headers, request.signal);
  if (request.signal.aborted) return;
  requestInFlight = null;
  setAttribute($("main"), "aria-busy", "false");
  const refusal = answer.failures.find(({ code }) => code === "UNAUTHENTICATED" || code === "FORBIDDEN");
  if (kind && refusal) return requireCredential(refusal);
  const ordered = isOrderRefused(answer) && inDefaultOrder(view);
  if (ordered) return replaceOrder(ordered);
  show(answer, inBackground);
  if (explains) showExplanation(answer.explain);
  const retryAfter = Math.max(0, ...answer.failures.map((failure) => failure.retryAfter ?? 0));
  nextRefreshAt = performance.now() + Math.max(REFRESH_MS, retryAfter * 1000);
  scheduleRefresh();
}

function scheduleRefresh() {
  clearTimeout(refreshTimer);
  if (isPaused || document.hidden || requestInFlight || $("main").hidden) return;
  refreshTimer = setTimeout(() => load({ inBackground: true }), Math.max(0, nextRefreshAt - performance.now()));
}

function stop() {
  clearTimeout(refreshTimer);
  requestInFlight?.abort();
  requestInFlight = null;
}

/** Shows the form, and removes all data from the page, because the next viewer may have another credential. */
function requireCredential(refusal) {
  stop();
  clearTimeout(searchTimer);
  shownSessions = null;
  table.showPlaceholders(0);
  cards.show([], "");
  for (const chart of charts) chart.show([]);
  showExplanation(null);
  for (const id of ["notice", "updated", "announcement", "summary"]) $(id).replaceChildren();
  for (const id of ["main", "actions"]) $(id).hidden = true;
  form.open(refusal);
}

/** Changes the view. A new order within the page needs no request. */
function navigate(next, { replacing = false } = {}) {
  const isOnPage = shownSessions && next.local !== view.local && next.sort === view.sort;
  view = next;
  orderNote = null;
  history[replacing ? "replaceState" : "pushState"](null, "", fragmentOf(view) || location.pathname + location.search);
  showControls();
  if (isOnPage) showSessions();
  else load();
}

/** Some versions of LangSmith cannot order by every column: shows the sessions in an order that all of them know. */
function replaceOrder(next) {
  const [refused, known] = [view.sort, next.sort].map((sort) => table.titleOf(columnOf(sort)));
  navigate(next, { replacing: true });
  orderNote = `LangSmith refuses to order by “${refused}”. The sessions are ordered by “${known}” instead.`;
}

function showLoading() {
  form?.close();
  for (const id of ["main", "actions", "results"]) $(id).hidden = false;
  setAttribute($("main"), "aria-busy", "true");
  if (shownSessions !== null) return;
  $("main").classList.add("is-loading");
  $("notice").hidden = true;
  $("charts").hidden = false;
  table.showPlaceholders(Math.min(view.size, 10));
}

function show(answer, inBackground) {
  showFailures(answer, shownSessions !== null, orderNote);
  showDuration(answer.milliseconds);
  $("results").hidden = answer.sessions === null && shownSessions === null;
  if (answer.sessions === null) return;
  shownSessions = answer.sessions;
  $("main").classList.remove("is-loading");
  $("next").disabled = !answer.hasNext;
  showSessions();
  setText($("updated"), `Updated ${asTimeOfDay(new Date())}`);
  if (!inBackground) setText($("announcement"), `${shownSessions.length} sessions, page ${view.page}.`);
}

function showSessions() {
  const previous = `previous ${WINDOWS[view.window].name}`;
  cards.show(shownSessions, `vs ${previous}`);
  for (const chart of charts) chart.show(shownSessions);
  table.show(shownSessions, view);
  const sorting = "Tokens and cost are sorted on this page only, because LangSmith cannot order by them.";
  setText($("notes"), view.compare ? `Small figures show the change from the ${previous}. ${sorting}` : sorting);
  $("empty").hidden = shownSessions.length > 0;
  $("charts").hidden = shownSessions.length === 0;
  const beyondLastPage = view.page > 1 && "This page is beyond the last one.";
  const nothingFound = view.search && `No session has “${view.search}” in its name.`;
  setText($("empty-text"), beyondLastPage || nothingFound || "There are no sessions.");
}

function showControls() {
  for (const name of ["kind", "window"]) document.querySelector(`[name=${name}][value="${view[name]}"]`).checked = true;
  if (document.activeElement !== $("search")) $("search").value = view.search;
  $("compare").checked = view.compare;
  $("size").value = view.size;
  $("previous").disabled = view.page === 1;
  setText($("page"), `Page ${view.page}`);
  table.markSortedColumn(view);
}

function addListeners() {
  const on = (node, event, listener) => node.addEventListener(event, listener);
  on($("controls"), "submit", (event) => event.preventDefault());
  on($("controls"), "change", ({ target }) => {
    if (target.type === "radio") navigate(withChanges(view, { [target.name]: target.value }));
    if (target === $("compare")) navigate(withChanges(view, { compare: target.checked, page: view.page }));
  });
  on($("search"), "input", () => {
    clearTimeout(searchTimer);
    const search = () => navigate(withChanges(view, { search: $("search").value.trim() }), { replacing: true });
    searchTimer = setTimeout(search, SEARCH_DELAY_MS);
  });
  for (const button of table.buttons) on(button, "click", () => navigate(sortedBy(view, button.dataset.column)));
  on($("size"), "change", () => navigate(withChanges(view, { size: Number($("size").value) })));
  on($("previous"), "click", () => navigate(withChanges(view, { page: view.page - 1 })));
  on($("next"), "click", () => navigate(withChanges(view, { page: view.page + 1 })));
  on($("show-all"), "click", () => {
    $("search").value = "";
    navigate(withChanges(view, { search: "", kind: "all" }));
    $("search").focus();
  });
  on($("refresh"), "click", () => load());
  on($("pause"), "click", () => {
    isPaused = !isPaused;
    setText($("pause"), isPaused ? "Resume" : "Pause");
    scheduleRefresh();
  });
  on($("explain"), "click", () => load({ inBackground: true, explains: true }));
  on($("forget"), "click", () => requireCredential());
  on(document, "visibilitychange", scheduleRefresh);
  on(window, "popstate", () => {
    clearTimeout(searchTimer);
    view = parseView(location.hash);
    orderNote = null;
    $("search").value = view.search;
    showControls();
    load();
  });
}

function start() {
  $("forget").hidden = !kind;
  $("explanation").hidden = !settings.explain;
  showExplanation(null);
  setText($("forget"), `Forget ${kind}`);
  const links = [
    ["graphql", "GraphiQL", settings.graphiql],
    ["schema.graphql", "Schema", settings.introspection],
    ["metrics", "Metrics", true],
  ];
  for (const [href, text, isServed] of links) if (isServed) $("footer").append(element("a", { href }, text));
  addListeners();
  showControls();
  load();
}

start();
