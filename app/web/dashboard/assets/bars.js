/** A few bars: the sessions shown that have the most of something. Drawn in place, so that a refresh moves them. */
import { drawing, element, mark, say } from "./dom.js";

const MOST = 8;
const HEIGHT = 32;
const WIDTH = 34; // of a name, in halves of a wide character

export class Bars {
  /** `figure` names it in a session; `text` writes it; `none` says that nobody has any. */
  constructor(parent, { title, figure, text, none }) {
    Object.assign(this, { title, figure, text, none });
    this.note = element("p", { class: "muted" });
    this.picture = drawing("svg", { role: "img", "aria-label": title, height: MOST * HEIGHT });
    const caption = element("figcaption", {}, element("h2", {}, title), this.note);
    parent.append(element("figure", { class: `panel bars is-${figure}` }, caption, this.picture));
  }

  show(sessions) {
    const known = sessions.filter((session) => session[this.figure] > 0);
    const most = known.sort((one, other) => Number(other[this.figure] - one[this.figure])).slice(0, MOST);
    const largest = Number(most[0]?.[this.figure] ?? 1);
    while (this.picture.children.length < most.length) this.picture.append(bar(this.picture.children.length));
    while (this.picture.children.length > most.length) this.picture.lastElementChild.remove();
    most.forEach((session, place) => {
      const [tip, name, value, , filled] = this.picture.children[place].children;
      say(tip, session.name);
      say(name, shortened(session.name));
      say(value, this.text(session[this.figure]));
      mark(filled, "width", `${Math.max(0.5, (100 * Number(session[this.figure])) / largest).toFixed(2)}%`);
    });
    say(this.note, most.length ? `highest ${most.length} of ${sessions.length}` : this.none);
    const values = most.map((session) => `${session.name} ${this.text(session[this.figure])}`);
    mark(this.picture, "aria-label", `${this.title}: ${values.join(", ") || this.none}`);
  }
}

const bar = (place) =>
  drawing(
    "g",
    { transform: `translate(0 ${place * HEIGHT})` },
    drawing("title"),
    drawing("text", { y: 13, class: "name" }),
    drawing("text", { y: 13, x: "100%", class: "value" }),
    drawing("rect", { y: 19, width: "100%", height: 6, rx: 3, class: "track" }),
    drawing("rect", { y: 19, height: 6, rx: 3, class: "bar" }),
  );

/** SVG knows no ellipsis. */
function shortened(name) {
  let width = 0;
  const characters = [...name];
  const fitting = characters.findIndex((each) => (width += each > "\u2e80" ? 2 : 1) > WIDTH);
  return fitting < 0 ? name : `${characters.slice(0, fitting).join("")}…`;
}
