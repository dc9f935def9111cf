/**
 * The dashboard fetches the sessions of the view, shows them, and refreshes them every 15 seconds while the tab is
 * visible. The names of the sessions come first, and their statistics when LangSmith has computed them.
 *
 *     view            window, filter, order and page, stored in the fragment of the URL
 *     credential      the viewer's key or token             form         where the viewer enters it
 *     gateway         sends the GraphQL operation           multipart    reads the parts of the answer
 *     incremental     merges the parts                      session      converts a row of the answer
 *     results         cards · bars · table                  shown_figure one figure of them
 *     notice          failures                              outcome      the operation, and what it caused
 *     figures · dom   formats of figures, and elements
 */
import { credentialHeaders, requiredKind, storedCredential } from "./credential.js";
import { $, element, setAttribute, setText } from "./dom.js";
import { asTimeOfDay } from "./figures.js";
import { CredentialForm } from "./form.js";
import { fetchAnswers } from "./gateway.js";
import { isOrderRefused, showFailures } from "./notice.js";
import { showDuration, showExplanation, showOperation } from "./outcome.js";
import { Results } from "./results.js";
import { isPending, withEarlierFigures } from "./session.js";
import { columnOf, fragmentOf, inDefaultOrder, parseView, sortedBy, variablesOf, withChanges } from "./view.js";

const REFRESH_MS = 15_000;
const SEARCH_DELAY_MS = 300;
const settings = JSON.parse($("data").textContent);
const kind = requiredKind(settings);

const form = kind && new CredentialForm(kind, () => load());
const results = new Results();
const { table } = results;

let view = parseView(location.hash);
let shown = null; // what is on the page: {answer, sessions, variables, at}
let orderNote = null; // why the view has another order than the viewer chose
let isPaused = false;
let nextRefreshAt = 0; // on the clock of performance.now()
let refreshTimer, searchTimer, requestInFlight;

/**
 * Fetches the view, and shows each part of the answer as it comes. `inBackground`: without telling the viewer.
 * `explains`: asks the gateway what it did for the request.
 */
async function load({ inBackground = false, explains = false } = {}) {
  stop();
  if (kind && !storedCredential()) return requireCredential();
  const request = new AbortController();
  setRequestInFlight(request);
  const [variables, earlier] = [variablesOf(view), shown];
  const isRefresh = earlier !== null && JSON.stringify(variables) === JSON.stringify(earlier.variables);
  showOperation(variables, settings.graphiql);
  if (!inBackground) showLoading(isRefresh);
  const headers = { ...credentialHeaders(kind), ...(explains && { "X-Gateway-Explain": "1" }) };
  const kept = isRefresh && !explains ? earlier.answer : null;
  const answers = [];
  for await (const answer of fetchAnswers(variables, { headers, kept, signal: request.signal })) {
    if (request.signal.aborted) return;
    const refusal = answer.failures.find(({ code }) => code === "UNAUTHENTICATED" || code === "FORBIDDEN");
    if (kind && refusal) return requireCredential(refusal);
    const ordered = isOrderRefused(answer) && inDefaultOrder(view);
    if (ordered) return replaceOrder(ordered);
    answers.push(answer);
    show(answer, { variables, earlier, isRefresh, inBackground });
    if (explains) showExplanation(answer.explain);
  }
  setRequestInFlight(null);
  const [first, last] = [answers[0], answers.at(-1)];
  showDuration(first.milliseconds, last.milliseconds);
  const retryAfter = Math.max(0, ...last.failures.map((failure) => failure.retryAfter ?? 0));
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
  setRequestInFlight(null);
}

function setRequestInFlight(request) {
  requestInFlight = request;
  $("main").toggleAttribute("data-has-request", request !== null);
}

/** Shows the form, and removes all data from the page, because the next viewer may have another credential. */
function requireCredential(refusal) {
  stop();
  clearTimeout(searchTimer);
  shown = null;
  results.clear();
  showExplanation(null);
  for (const id of ["notice", "updated", "announcement", "summary"]) $(id).replaceChildren();
  for (const id of ["main", "actions"]) $(id).hidden = true;
  form.open(refusal);
}

/** Changes the view. A new order within the page needs no request. */
function navigate(next, { replacing = false } = {}) {
  const isOnPage = shown && next.local !== view.local && next.sort === view.sort;
  view = next;
  orderNote = null;
  history[replacing ? "replaceState" : "pushState"](null, "", fragmentOf(view) || location.pathname + location.search);
  showControls();
  if (isOnPage) results.show(shown.sessions, view, { keepsTotals: true });
  else load();
}

/** Some versions of LangSmith cannot order by every column: shows the sessions in an order that all of them know. */
function replaceOrder(next) {
  const [refused, known] = [view.sort, next.sort].map((sort) => table.titleOf(columnOf(sort)));
  navigate(next, { replacing: true });
  orderNote = `LangSmith refuses to order by “${refused}”. The sessions are ordered by “${known}” instead.`;
}

function showLoading(isRefresh) {
  form?.close();
  for (const id of ["main", "actions", "results"]) $(id).hidden = false;
  setAttribute($("main"), "aria-busy", "true");
  if (isRefresh) setText($("updated"), "Refreshing…");
  $("main").classList.toggle("is-of-other-view", shown !== null && !isRefresh);
  if (shown !== null) return;
  $("notice").hidden = true;
  results.showPlaceholders(Math.min(view.size, 10));
}

/**
 * Shows as much of an answer as has come. Sessions keep the figures of the `earlier` answer until their own come, if
 * these are of the same window.
 */
function show(answer, { variables, earlier, isRefresh, inBackground }) {
  $("main").classList.remove("is-of-other-view");
  if (answer.sessions !== null) {
    const ofSameWindow = earlier?.variables.window === variables.window ? earlier.sessions : [];
    const earlierById = new Map(ofSameWindow.map((session) => [session.id, session]));
    const sessions = answer.sessions.map((session) => withEarlierFigures(session, earlierById.get(session.id)));
    shown = { answer, sessions, variables, at: new Date() };
    $("next").disabled = !answer.hasNext;
    results.show(sessions, view, { keepsTotals: isRefresh });
  }
  if (answer.isComplete && shown) setText($("updated"), `Updated ${asTimeOfDay(shown.at)}`);
  $("results").hidden = shown === null;
  showProgress(answer, inBackground);
  // A refresh keeps the notice until it is over, so that the notice of a lasting failure does not come and go.
  if (answer.isComplete || answer.failures.length || !isRefresh) showFailures(answer, shown?.sessions ?? null, orderNote);
}

/** Tells screen readers that the rows have come, and whether their figures follow. */
function showProgress({ sessions, isComplete }, inBackground) {
  const isMissing = shown?.sessions.some(isPending) ?? false;
  setAttribute($("main"), "aria-busy", "false");
  setAttribute($("table"), "aria-busy", String(!isComplete && (isMissing || !inBackground)));
  if (inBackground || sessions === null) return;
  const rest = isMissing ? " Their statistics follow." : "";
  setText($("announcement"), `${sessions.length} sessions, page ${view.page}.${rest}`);
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
