/** The sessions on the page: their totals, charts and table. */
import { Bars } from "./bars.js";
import { Cards } from "./cards.js";
import { $, setText } from "./dom.js";
import { asMoney, asSeconds, asShare } from "./figures.js";
import { isPending } from "./session.js";
import { Table } from "./table.js";
import { WINDOWS } from "./view.js";

const CHARTS = [
  { title: "p99 latency", figure: "p99", text: asSeconds, none: "no latencies in this window" },
  { title: "Error rate", figure: "errors", text: asShare, none: "no errors in this window" },
  { title: "Cost", figure: "cost", text: asMoney, none: "no costs in this window" },
];
const SORTING = "Tokens and cost are sorted on this page only, because LangSmith cannot order by them.";

export class Results {
  constructor() {
    this.cards = new Cards($("cards"));
    this.charts = CHARTS.map((chart) => new Bars($("charts"), chart));
    this.table = new Table($("rows"), document.querySelectorAll("[data-column]"));
  }

  /** Removes all data from the page. */
  clear() {
    this.showPlaceholders(0);
  }

  /** Shows placeholders until the first sessions come. */
  showPlaceholders(size) {
    $("charts").hidden = false;
    for (const part of [this.cards, ...this.charts]) part.showPending();
    this.table.showPlaceholders(size);
  }

  /** `keepsTotals`: leave totals and charts as they are while figures of a session are still to come. */
  show(sessions, view, { keepsTotals = false } = {}) {
    const previous = `previous ${WINDOWS[view.window].name}`;
    if (!keepsTotals || !sessions.some(isPending)) {
      this.cards.show(sessions, `vs ${previous}`);
      for (const chart of this.charts) chart.show(sessions);
    }
    this.table.show(sessions, view);
    setText($("notes"), view.compare ? `Small figures show the change from the ${previous}. ${SORTING}` : SORTING);
    $("empty").hidden = sessions.length > 0;
    $("charts").hidden = sessions.length === 0;
    const beyondLastPage = view.page > 1 && "This page is beyond the last one.";
    const nothingFound = view.search && `No session has “${view.search}” in its name.`;
    setText($("empty-text"), beyondLastPage || nothingFound || "There are no sessions.");
  }
}
