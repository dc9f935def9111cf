/** Bar chart of the sessions on the page with the highest values of one figure. A refresh updates the bars in place. */
import { element, setAttribute, setText, svgElement } from "./dom.js";
import { figureOf } from "./session.js";

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
    this.element = element("figure", { class: `panel bars is-${figure}` }, caption, this.picture);
    parent.append(this.element);
  }

  /** Shows a placeholder until the figures have come. */
  showPending() {
    this.element.classList.add("is-pending");
    this.picture.replaceChildren();
    setText(this.note, "");
    setAttribute(this.picture, "aria-label", `${this.title}: loading`);
  }

  show(sessions) {
    if (sessions.some(({ now }) => now.state === "pending")) return this.showPending();
    const bars = sessions
      .map((session) => ({ name: session.name, figure: figureOf(session, this.figure) }))
      .filter(({ figure }) => figure > 0)
      .sort((one, other) => Number(other.figure - one.figure))
      .slice(0, MAX_BARS);
    const maximum = Number(bars[0]?.figure ?? 1);
    while (this.picture.children.length < bars.length) this.picture.append(bar(this.picture.children.length));
    while (this.picture.children.length > bars.length) this.picture.lastElementChild.remove();
    bars.forEach(({ name, figure }, index) => {
      const [tooltip, nameText, value, , rectangle] = this.picture.children[index].children;
      setText(tooltip, name);
      setText(nameText, shortened(name));
      setText(value, this.text(figure));
      const percentage = Math.max(0.5, (100 * Number(figure)) / maximum);
      setAttribute(rectangle, "width", `${percentage.toFixed(2)}%`);
    });
    const none = sessions.some(({ now }) => now.state === "failed") ? "failed" : this.none;
    setText(this.note, bars.length ? `highest ${bars.length} of ${sessions.length}` : none);
    const values = bars.map(({ name, figure }) => `${name} ${this.text(figure)}`);
    setAttribute(this.picture, "aria-label", `${this.title}: ${values.join(", ") || none}`);
    this.element.classList.remove("is-pending");
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
