/**
 * The dashboard: a view is asked for, shown, and asked for again every 15 seconds while somebody may be looking.
 *
 *     view     what is looked at: the fragment     credential · form   who asks
 *     gateway  the operation and its answer        session             a row, and the window before
 *     cards · bars · table · outcome · notice      figures · dom
 */
import { Bars } from "./bars.js";
import { Cards } from "./cards.js";
import { headersOf, held, wanted } from "./credential.js";
import { $, element, mark, say } from "./dom.js";
import { asMoney, asSeconds, asShare, asTimeOfDay } from "./figures.js";
import { Form } from "./form.js";
import { ask } from "./gateway.js";
import { showFailures } from "./notice.js";
import { showOperation, showOutcome } from "./outcome.js";
import { Table } from "./table.js";
import { changed, fragmentOf, sorted, variablesOf, viewOf, WINDOWS } from "./view.js";

const REFRESH = 15_000;
const TYPING = 300;
const settings = JSON.parse($("data").textContent);
const kind = wanted(settings);

const form = kind && new Form(kind, () => load());
const cards = new Cards($("cards"));
const charts = [
  { title: "p99 latency", figure: "p99", text: asSeconds, none: "no latencies in this window" },
  { title: "Error rate", figure: "errors", text: asShare, none: "no errors in this window" },
  { title: "Cost", figure: "cost", text: asMoney, none: "no costs in this window" },
].map((chart) => new Bars($("charts"), chart));
const table = new Table($("rows"), document.querySelectorAll("[data-column]"));

let view = viewOf(location.hash);
let shown = null; // the sessions on the page
let isPaused = false;
let due = 0; // when to ask again, as performance.now() has it
let timer, typing, underway;

/** `quietly`: nobody waits for it. */
async function load({ quietly = false } = {}) {
  stop();
  if (kind && !held()) return turnAway();
  const asking = (underway = new AbortController());
  const variables = variablesOf(view);
  showOperation(variables, settings.graphiql);
  if (!quietly) wait();
  const headers = { ...headersOf(kind), ...(settings.explain && { "X-Gateway-Explain": "1" }) };
  const answer = await ask(variables, headers, asking.signal);
  if (asking.signal.aborted) return;
  underway = null;
  mark($("main"), "aria-busy", "false");
  const refused = answer.failures.find(({ code }) => code === "UNAUTHENTICATED" || code === "FORBIDDEN");
  if (kind && refused) return turnAway(refused);
  show(answer, quietly);
  const longest = Math.max(0, ...answer.failures.map((failure) => failure.retryAfter ?? 0));
  due = performance.now() + Math.max(REFRESH, longest * 1000);
  schedule();
}

function schedule() {
  clearTimeout(timer);
  if (isPaused || document.hidden || underway || $("main").hidden) return;
  timer = setTimeout(() => load({ quietly: true }), Math.max(0, due - performance.now()));
}

function stop() {
  clearTimeout(timer);
  underway?.abort();
  underway = null;
}

/** Nothing of what was shown to the last one is left. */
function turnAway(refused) {
  stop();
  clearTimeout(typing);
  shown = null;
  table.wait(0);
  cards.show([], "");
  for (const chart of charts) chart.show([]);
  for (const part of ["requests", "notice", "updated", "said", "summary"]) $(part).replaceChildren();
  for (const part of ["main", "actions"]) $(part).hidden = true;
  form.ask(refused);
}

function look(next, { replacing = false } = {}) {
  const isHere = shown && next.local !== view.local && next.sort === view.sort;
  view = next;
  history[replacing ? "replaceState" : "pushState"](null, "", fragmentOf(view) || location.pathname + location.search);
  showControls();
  if (isHere) showSessions();
  else load();
}

function wait() {
  form?.close();
  for (const part of ["main", "actions", "results"]) $(part).hidden = false;
  mark($("main"), "aria-busy", "true");
  if (shown !== null) return;
  $("main").classList.add("is-blank");
  $("notice").hidden = true;
  $("charts").hidden = false;
  table.wait(Math.min(view.size, 10));
}

function show(answer, quietly) {
  showFailures(answer, shown !== null);
  showOutcome(answer);
  $("results").hidden = answer.sessions === null && shown === null;
  if (answer.sessions === null) return;
  shown = answer.sessions;
  $("main").classList.remove("is-blank");
  $("next").disabled = !answer.hasNext;
  showSessions();
  say($("updated"), `Updated ${asTimeOfDay(new Date())}`);
  if (!quietly) say($("said"), `${shown.length} sessions, page ${view.page}.`);
}

function showSessions() {
  const before = `previous ${WINDOWS[view.window].name}`;
  cards.show(shown, `vs ${before}`);
  for (const chart of charts) chart.show(shown);
  table.show(shown, view);
  const sorting = "Tokens and cost are sorted on this page only: LangSmith cannot order by them.";
  say($("notes"), view.compare ? `Small figures: change against the ${before}. ${sorting}` : sorting);
  $("empty").hidden = shown.length > 0;
  $("charts").hidden = shown.length === 0;
  const isBeyond = view.page > 1 && "The pages end before this one.";
  const isUnknown = view.search && `No session here has “${view.search}” in its name.`;
  say($("empty-text"), isBeyond || isUnknown || "There are no sessions here.");
}

function showControls() {
  for (const name of ["kind", "window"]) document.querySelector(`[name=${name}][value="${view[name]}"]`).checked = true;
  if (document.activeElement !== $("search")) $("search").value = view.search;
  $("compare").checked = view.compare;
  $("size").value = view.size;
  $("previous").disabled = view.page === 1;
  say($("page"), `Page ${view.page}`);
  table.order(view);
}

function listen() {
  const on = (node, event, act) => node.addEventListener(event, act);
  on($("controls"), "submit", (event) => event.preventDefault());
  on($("controls"), "change", ({ target }) => {
    if (target.type === "radio") look(changed(view, { [target.name]: target.value }));
    if (target === $("compare")) look(changed(view, { compare: target.checked, page: view.page }));
  });
  on($("search"), "input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => look(changed(view, { search: $("search").value.trim() }), { replacing: true }), TYPING);
  });
  for (const button of table.buttons) on(button, "click", () => look(sorted(view, button.dataset.column)));
  on($("size"), "change", () => look(changed(view, { size: Number($("size").value) })));
  on($("previous"), "click", () => look(changed(view, { page: view.page - 1 })));
  on($("next"), "click", () => look(changed(view, { page: view.page + 1 })));
  on($("start-over"), "click", () => {
    $("search").value = "";
    look(changed(view, { search: "", kind: "all" }));
    $("search").focus();
  });
  on($("refresh"), "click", () => load());
  on($("pause"), "click", () => {
    isPaused = !isPaused;
    say($("pause"), isPaused ? "Resume" : "Pause");
    schedule();
  });
  on($("forget"), "click", () => turnAway());
  on(document, "visibilitychange", schedule);
  on(window, "popstate", () => {
    clearTimeout(typing);
    view = viewOf(location.hash);
    $("search").value = view.search;
    showControls();
    load();
  });
}

function begin() {
  $("forget").hidden = !kind;
  say($("forget"), `Forget ${kind}`);
  const links = [
    ["graphql", "GraphiQL", settings.graphiql],
    ["schema.graphql", "Schema", settings.introspection],
    ["metrics", "Metrics", true],
  ];
  for (const [href, text, is] of links) if (is) $("footer").append(element("a", { href }, text));
  listen();
  showControls();
  load();
}

begin();
