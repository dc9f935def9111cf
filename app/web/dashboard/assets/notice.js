/** What went wrong, above what is still shown. */
import { $, element } from "./dom.js";

/** `isShown`: whether there are sessions on the page. @param {import("./gateway.js").Answer} answer */
export function showFailures({ failures, sessions }, isShown) {
  const lines = [...new Set(failures.map(asLine))];
  if (lines.length && sessions === null) {
    lines.push(`${isShown ? "Showing the last answer. " : ""}It is asked for again at the next refresh.`);
  }
  $("notice").hidden = lines.length === 0;
  // The same again is not announced again.
  if ([...$("notice").children].map((line) => line.textContent).join() !== lines.join()) {
    $("notice").replaceChildren(...lines.map((line) => element("p", {}, line)));
  }
}

/** @param {import("./gateway.js").Failure} failure */
export function asLine({ message, code, retryAfter }) {
  const later = retryAfter ? ` There is room again in ${Math.ceil(retryAfter)} s.` : "";
  return `${message}${later}${code ? ` (${code})` : ""}`;
}
