/** Shows failures above the sessions, which stay on the page. */
import { $, element } from "./dom.js";

/**
 * `hasSessions`: whether sessions are on the page. `note`: what else the viewer must know, or null.
 * @param {import("./gateway.js").Answer} answer
 */
export function showFailures({ failures, sessions }, hasSessions, note) {
  const lines = [...new Set(failures.map(failureText))];
  if (note) lines.unshift(note);
  if (failures.length && sessions === null) {
    lines.push(`${hasSessions ? "Showing the last answer. " : ""}The next refresh will try again.`);
  }
  $("notice").hidden = lines.length === 0;
  // Keep an unchanged notice, so that screen readers do not announce it again.
  if ([...$("notice").children].map((line) => line.textContent).join() !== lines.join()) {
    $("notice").replaceChildren(...lines.map((line) => element("p", {}, line)));
  }
}

/** Whether LangSmith, or the gateway, may have refused the order. @param {import("./gateway.js").Answer} answer */
export function isOrderRefused({ failures, sessions }) {
  const isAboutOrder = ({ code, argument }) => code === "BAD_USER_INPUT" && (argument ?? "orderBy").startsWith("orderBy");
  return sessions === null && failures.some(isAboutOrder);
}

/** @param {import("./gateway.js").Failure} failure */
export function failureText({ message, code, retryAfter }) {
  const retry = retryAfter ? ` Try again in ${Math.ceil(retryAfter)} s.` : "";
  return `${message}${retry}${code ? ` (${code})` : ""}`;
}
