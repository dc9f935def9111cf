/** Bar chart of the sessions on the page with the highest values of one figure. A refresh updates the bars in place. */
import { element, setAttribute, setText, svgElement } from "./dom.js";

const MAX_BARS = 8;
const BAR_HEIGHT = 32;
const MAX_NAME_WIDTH = 34; // a wide (CJK) character counts 2, every other one 1

export class Bars {
  /**
   * `figure`: the property of a session that is shown; `text`: formats its value; `none`: the note if no session has one.
   */
  constructor(parent, { title, figure, text, none }) {
    Object.assign(this, { title, figure, text, none });
    this.note = element("p", { class: "muted" });
    this.picture = svgElement("svg", { role: "img", "aria-label": title, height: MAX_BARS * BAR_HEIGHT });
    const caption = element("figcaption", {}, element("h2", {}, title), this.note);
    parent.append(element("figure", { class: `panel bars is-${figure}` }, caption, this.picture));
  }

  show(sessions) {
    const withValue = sessions.filter((session) => session[this.figure] > 0);
    const byValue = withValue.sort((one, other) => Number(other[this.figure] - one[this.figure]));
    const highest = byValue.slice(0, MAX_BARS);
    const maximum = Number(highest[0]?.[this.figure] ?? 1);
    while (this.picture.children.length < highest.length) this.picture.append(bar(this.picture.children.length));
    while (this.picture.children.length > highest.length) this.picture.lastElementChild.remove();
    highest.forEach((session, index) => {
      const [tooltip, name, value, , rectangle] = this.picture.children[index].children;
      setText(tooltip, session.name);
      setText(name, shortened(session.name));
      setText(value, this.text(session[this.figure]));
      const percentage = Math.max(0.5, (100 * Number(session[this.figure])) / maximum);
      setAttribute(rectangle, "width", `${percentage.toFixed(2)}%`);
    });
    setText(this.note, highest.length ? `highest ${highest.length} of ${sessions.length}` : this.none);
    const values = highest.map((session) => `${session.name} ${this.text(session[this.figure])}`);
    setAttribute(this.picture, "aria-label", `${this.title}: ${values.join(", ") || this.none}`);
  }
}

const bar = (index) =>
  svgElement(
    "g",
    { transform: `translate(0 ${index * BAR_HEIGHT})` },
    svgElement("title"),
    svgElement("text", { y: 13, class: "name" }),
    svgElement("text", { y: 13, x: "100%", class: "value" }),
    svgElement("rect", { y: 19, width: "100%", height: 6, rx: 3, class: "track" }),
    svgElement("rect", { y: 19, height: 6, rx: 3, class: "bar" }),
  );

/** Shortens a name here, because SVG has no `text-overflow: ellipsis`. */
function shortened(name) {
  let width = 0;
  const characters = [...name];
  const end = characters.findIndex((each) => (width += each > "\u2e80" ? 2 : 1) > MAX_NAME_WIDTH);
  return end < 0 ? name : `${characters.slice(0, end).join("")}…`;
}
