/** The table of sessions. A session keeps its row element while it is on the page, so that a refresh keeps the focus. */
import { element, setAttribute, setChildren, setText } from "./dom.js";
import { asAge, asCount, asDateTime, asMoney, asSeconds, asShare, change, changeOfShare, UNKNOWN } from "./figures.js";
import { figureOf, KNOWN } from "./session.js";
import { showFigure, showTrend } from "./shown_figure.js";
import { columnOf, isDescending } from "./view.js";

const COLUMNS = [
  { figure: "runs", text: asCount, changes: change },
  { figure: "p50", text: asSeconds },
  { figure: "p99", text: asSeconds },
  { figure: "errors", text: asShare, changes: changeOfShare },
  { figure: "tokens", text: asCount, changes: change },
  { figure: "cost", text: asMoney, changes: change },
];
const NO_DIFFERENCE = "LangSmith has no percentiles of the previous window alone.";

export class Table {
  constructor(body, buttons) {
    Object.assign(this, { body, buttons, rows: new Map() });
  }

  /** Shows placeholder rows until the first answer arrives. */
  showPlaceholders(size) {
    this.rows.clear();
    const cell = () => element("td", {}, element("span", { class: "skeleton" }));
    const row = () => element("tr", {}, ...Array.from(this.buttons, cell));
    this.body.replaceChildren(...Array.from({ length: size }, row));
  }

  show(sessions, view) {
    const rows = new Map(sessions.map((session) => [session.id, this.rows.get(session.id) ?? new Row()]));
    for (const session of sessions) rows.get(session.id).show(session, view.compare);
    setChildren(this.body, sortedOnPage(sessions, view.local).map((session) => rows.get(session.id).element));
    this.rows = rows;
  }

  titleOf(column) {
    return [...this.buttons].find((button) => button.dataset.column === column).firstChild.textContent;
  }

  /** Marks the column by which the rows are sorted. */
  markSortedColumn(view) {
    const sort = view.local || view.sort;
    for (const button of this.buttons) {
      const isSorted = button.dataset.column === columnOf(sort);
      setAttribute(button.closest("th"), "aria-sort", isSorted ? (isDescending(sort) ? "descending" : "ascending") : null);
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
    const { now, before } = session;
    setText(this.name, session.name);
    setAttribute(this.name, "title", session.name);
    this.kind.hidden = !session.isExperiment;
    for (const { figure, text, changes, value, note } of this.cells) {
      showFigure(value, now, text(figureOf(session, figure)));
      note.hidden = !isCompared;
      if (!changes) showFigure(note, KNOWN, UNKNOWN, NO_DIFFERENCE);
      else {
        const difference = before?.figures ? changes(figureOf(session, figure), before.figures[figure]) : UNKNOWN;
        showFigure(note, before ?? KNOWN, difference);
        if (figure === "errors") showTrend(note, difference);
      }
    }
    const last = figureOf(session, "last");
    showFigure(this.last, now, asAge(last), last && asDateTime(new Date(last)));
    setAttribute(this.last, "datetime", last);
  }
}

/**
 * Sorts the sessions of this page by a column that LangSmith cannot order by; unknown values come last, in LangSmith's
 * order.
 */
function sortedOnPage(sessions, sort) {
  if (!sort) return sessions;
  const [figure, sign] = [columnOf(sort), isDescending(sort) ? -1 : 1];
  const valueOf = (session) => figureOf(session, figure);
  const known = sessions.filter((session) => valueOf(session) !== null);
  const unknown = sessions.filter((session) => valueOf(session) === null);
  return [...known.sort((one, other) => sign * Number(valueOf(one) - valueOf(other))), ...unknown];
}
