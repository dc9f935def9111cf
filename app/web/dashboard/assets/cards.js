/** The totals of the sessions on the page, each with its change from the previous window. */
import { element } from "./dom.js";
import { asCount, asMoney, asShare, asShortCount, change, changeOfNumber, changeOfShare } from "./figures.js";
import { PENDING, totalOf } from "./session.js";
import { showFigure, showTrend } from "./shown_figure.js";

const CARDS = [
  { title: "Active sessions", figure: "active", text: asCount, changes: changeOfNumber },
  { title: "Runs", figure: "runs", text: asShortCount, exact: asCount },
  { title: "Tokens", figure: "tokens", text: asShortCount, exact: asCount },
  { title: "Cost", figure: "cost", text: asMoney },
  { title: "Error rate", figure: "errors", text: asShare, changes: changeOfShare },
];

export class Cards {
  constructor(list) {
    this.cards = CARDS.map((card) => {
      const [value, note] = [element("dd", { class: "value" }), element("dd", { class: "note" })];
      list.append(element("div", { class: "card panel" }, element("dt", {}, card.title), value, note));
      return { ...card, value, note };
    });
  }

  /** Shows placeholders until the first sessions have come. */
  showPending() {
    for (const { value, note } of this.cards) for (const node of [value, note]) showFigure(node, PENDING, "");
  }

  /** `comparison`: the text after each change, such as "vs previous hour". */
  show(sessions, comparison) {
    const total = totalOf(sessions);
    const now = partOf(sessions, "now", sessions.some((session) => session.now.figures) ? total : null);
    const before = partOf(sessions, "before", total.before);
    for (const { figure, text, exact, changes = change, value, note } of this.cards) {
      const count = figure === "active" ? ` of ${sessions.length}` : "";
      showFigure(value, now, text(total[figure]) + count, exact?.(total[figure]));
      const difference = total.before && changes(total[figure], total.before[figure]);
      showFigure(note, before, difference ? `${difference} ${comparison}` : "\u00a0");
      if (figure === "errors") showTrend(note, difference ?? "");
    }
  }
}

/** The part of all sessions together: pending or failed if that of one of them is. */
function partOf(sessions, name, figures) {
  const hasState = (state) => sessions.some((session) => session[name]?.state === state);
  return { state: ["pending", "failed"].find(hasState) ?? "known", figures };
}
