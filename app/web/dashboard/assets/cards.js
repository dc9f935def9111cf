/** The totals of the sessions on the page, each with its change from the previous window. */
import { element, setAttribute, setText } from "./dom.js";
import { asCount, asMoney, asShare, asShortCount, change, changeOfNumber, changeOfShare } from "./figures.js";
import { totalOf } from "./session.js";

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
      const [value, note] = [element("dd", { class: "value" }, "–"), element("dd", { class: "note" }, "–")];
      list.append(element("div", { class: "card panel" }, element("dt", {}, card.title), value, note));
      return { ...card, value, note };
    });
  }

  /** `comparison`: the text after each change, such as "vs previous hour". */
  show(sessions, comparison) {
    const total = totalOf(sessions);
    for (const { figure, text, exact, changes = change, value, note } of this.cards) {
      setText(value, text(total[figure]) + (figure === "active" ? ` of ${sessions.length}` : ""));
      if (exact) setAttribute(value, "title", exact(total[figure]));
      const difference = total.before && changes(total[figure], total.before[figure]);
      setText(note, difference ? `${difference} ${comparison}` : "\u00a0");
      if (figure === "errors") setAttribute(note, "class", `note ${trendClass(difference)}`);
    }
  }
}

/** CSS class for a change of the error rate, the only figure of which more is always worse. */
export function trendClass(difference) {
  return difference?.startsWith("+") ? "is-worse" : difference?.startsWith("−") ? "is-better" : "";
}
