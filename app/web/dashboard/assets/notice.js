/** Shows failures above the sessions, which stay on the page. */
import { $, element } from "./dom.js";
import { isFailed, isOutdated } from "./session.js";

/**
 * `shownSessions`: the sessions on the page, or null. `note`: what else the viewer must know, or null.
 *
 * @param {import("./gateway.js").Answer} answer  @param {?import("./session.js").Session[]} shownSessions
 */
export function showFailures({ failures, sessions }, shownSessions, note) {
  const lines = [...new Set(failures.map(failureText))];
  if (note) lines.unshift(note);
  if (failures.length && (sessions === null || shownSessions.some(isFailed))) {
    lines.push(`${consequence(sessions, shownSessions)}The next refresh will try again.`);
  }
  $("notice").hidden = lines.length === 0;
  // Keep an unchanged notice, so that screen readers do not announce it again.
  if ([...$("notice").children].map((line) => line.textContent).join() !== lines.join()) {
    $("notice").replaceChildren(...lines.map((line) => element("p", {}, line)));
  }
}

function consequence(sessions, shownSessions) {
  if (sessions === null) return shownSessions ? "Showing the last answer. " : "";
  return shownSessions.some(isOutdated) ? "Underlined figures are from an earlier answer. " : "";
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
