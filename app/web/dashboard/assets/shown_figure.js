/** Shows one figure, or that it has not come or has failed. Its element keeps its height, so that nothing moves. */
import { setAttribute, setText } from "./dom.js";
import { isOutdatedPart } from "./session.js";

const OUTDATED = "This figure is from an earlier answer, because the newest request for it failed.";

/**
 * @param {import("./session.js").Part} part  to which the figure belongs
 * @param {string} text  of the figure
 * @param {?string} title  tooltip, unless the figure is outdated
 */
export function showFigure(node, part, text, title = null) {
  const [isPending, isFailed, isOutdated] = [part.state === "pending", part.state === "failed", isOutdatedPart(part)];
  setText(node, isPending ? "" : isFailed && !isOutdated ? "failed" : text);
  setAttribute(node, "title", isOutdated ? OUTDATED : title);
  node.classList.toggle("is-pending", isPending);
  node.classList.toggle("is-failed", isFailed);
  node.classList.toggle("is-outdated", isOutdated);
}

/** Marks a change of the error rate, the only figure of which more is always worse. */
export function showTrend(node, difference) {
  node.classList.toggle("is-worse", difference.startsWith("+"));
  node.classList.toggle("is-better", difference.startsWith("−"));
}
