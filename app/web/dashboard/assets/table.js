/** The sessions, a row each; rows stay the same elements as long as their session is shown. */
import { arrange, element, mark, say } from "./dom.js";
import { asAge, asCount, asMoment, asMoney, asSeconds, asShare, change, changeOfShare, UNKNOWN } from "./figures.js";
import { trendOf } from "./cards.js";
import { columnOf, isDescending } from "./view.js";

const COLUMNS = [
  { figure: "runs", text: asCount, changes: change },
  { figure: "p50", text: asSeconds },
  { figure: "p99", text: asSeconds },
  { figure: "errors", text: asShare, changes: changeOfShare },
  { figure: "tokens", text: asCount, changes: change },
  { figure: "cost", text: asMoney, changes: change },
];
const NO_DIFFERENCE = "Percentiles of the window before cannot be told from these two windows.";

export class Table {
  constructor(body, buttons) {
    Object.assign(this, { body, buttons, rows: new Map() });
  }

  /** Rows without text, until there is some. */
  wait(size) {
    this.rows.clear();
    const cell = () => element("td", {}, element("span", { class: "bone" }));
    const row = () => element("tr", {}, ...Array.from(this.buttons, cell));
    this.body.replaceChildren(...Array.from({ length: size }, row));
  }

  show(sessions, view) {
    const rows = new Map(sessions.map((session) => [session.id, this.rows.get(session.id) ?? new Row()]));
    for (const session of sessions) rows.get(session.id).show(session, view.compare);
    arrange(this.body, within(sessions, view.local).map((session) => rows.get(session.id).element));
    this.rows = rows;
  }

  /** Says which column orders them. */
  order(view) {
    const sort = view.local || view.sort;
    for (const button of this.buttons) {
      const isSorted = button.dataset.column === columnOf(sort);
      mark(button.closest("th"), "aria-sort", isSorted ? (isDescending(sort) ? "descending" : "ascending") : null);
    }
  }
}

class Row {
  constructor() {
    this.name = element("span", { class: "name" });
    this.kind = element("span", { class: "badge" }, "experiment");
    this.last = element("time");
    this.cells = COLUMNS.map((column) => {
      const [value, note] = [element("span", { class: "value" }), element("span", { class: "note" })];
      return { ...column, value, note, element: element("td", {}, value, note) };
    });
    this.element = element(
      "tr",
      {},
      element("th", { scope: "row" }, this.name, this.kind),
      ...this.cells.map((cell) => cell.element),
      element("td", {}, this.last),
    );
  }

  show(session, isCompared) {
    say(this.name, session.name);
    mark(this.name, "title", session.name);
    this.kind.hidden = !session.isExperiment;
    for (const { figure, text, changes, value, note } of this.cells) {
      say(value, text(session[figure]));
      note.hidden = !isCompared;
      const difference = changes && session.before ? changes(session[figure], session.before[figure]) : UNKNOWN;
      say(note, difference);
      if (!changes) mark(note, "title", NO_DIFFERENCE);
      if (figure === "errors") mark(note, "class", `note ${trendOf(difference)}`);
    }
    say(this.last, asAge(session.last));
    mark(this.last, "datetime", session.last);
    mark(this.last, "title", session.last && asMoment(new Date(session.last)));
  }
}

/** In the order of a column of this page; what is not known comes last. */
function within(sessions, local) {
  if (!local) return sessions;
  const [figure, turn] = [columnOf(local), isDescending(local) ? -1 : 1];
  const [known, unknown] = [true, false].map((is) => sessions.filter((each) => (each[figure] !== null) === is));
  return [...known.sort((one, other) => turn * Number(one[figure] - other[figure])), ...unknown];
}
