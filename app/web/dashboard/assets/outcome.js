/** How the sessions were asked for: the operation, how long it took, and what it cost LangSmith. */
import { $, element, mark, say } from "./dom.js";
import { DOCUMENT, ENDPOINT } from "./gateway.js";

/** `withGraphiql`: whether this gateway has it, to open the operation in. */
export function showOperation(variables, withGraphiql) {
  const text = JSON.stringify(variables, null, 2);
  say($("document"), DOCUMENT);
  say($("variables"), text);
  $("graphiql").hidden = !withGraphiql;
  const [query, values] = [DOCUMENT, text].map(encodeURIComponent);
  mark($("graphiql"), "href", `${ENDPOINT}#query=${query}&variables=${values}`);
}

/** @param {import("./gateway.js").Answer} answer */
export function showOutcome({ milliseconds, explained }) {
  const { cache, age, requests = [] } = explained?.fields.sessions ?? {};
  const parts = [`${Math.round(milliseconds)} ms`];
  if (cache) parts.push(`cache ${cache}${age ? `, ${age.toFixed(1)} s old` : ""}`);
  const asked = requests.length === 1 ? "1 request" : `${requests.length} requests`;
  if (explained) parts.push(`${asked} to LangSmith`, `cost ${explained.cost}`);
  say($("summary"), parts.join(" · "));
  $("requests").replaceChildren(...requests.map((request) => element("li", {}, asLine(request))));
}

function asLine({ path, params, status, ms, attempts }) {
  const named = Object.entries(params).map(([name, value]) => `${name}=${asText(name, value)}`);
  const tries = attempts > 1 ? `, ${attempts} attempts` : "";
  return `GET ${path}?${named.join("&")} – ${status ?? "no answer"}, ${Math.round(ms)} ms${tries}`;
}

const asText = (name, value) => (name === "id" ? `(${[value].flat().length} ids)` : [value].flat().join(","));
