/** The totals over the sessions shown, each with its change. */
import { element, mark, say } from "./dom.js";
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

  /** `before`: what the window before is called. */
  show(sessions, before) {
    const total = totalOf(sessions);
    for (const { figure, text, exact, changes = change, value, note } of this.cards) {
      say(value, text(total[figure]) + (figure === "active" ? ` of ${sessions.length}` : ""));
      if (exact) mark(value, "title", exact(total[figure]));
      const difference = total.before && changes(total[figure], total.before[figure]);
      say(note, difference ? `${difference} ${before}` : "\u00a0");
      if (figure === "errors") mark(note, "class", `note ${trendOf(difference)}`);
    }
  }
}

/** More errors are worse; whether more of the rest is good is not for this page to say. */
export function trendOf(difference) {
  return difference?.startsWith("+") ? "is-worse" : difference?.startsWith("−") ? "is-better" : "";
}
