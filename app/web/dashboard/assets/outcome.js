/** Shows the GraphQL operation, how long it took, and on demand what the gateway did for it (Explain). */
import { $, element, setAttribute, setText } from "./dom.js";
import { DOCUMENT, ENDPOINT } from "./gateway.js";

const UNEXPLAINED = "sends the query once more, and shows its requests to LangSmith.";

/** `hasGraphiql`: whether this gateway serves GraphiQL, for the link that opens the operation there. */
export function showOperation(variables, hasGraphiql) {
  const variablesText = JSON.stringify(variables, null, 2);
  if ($("variables").textContent !== variablesText) showExplanation(null);
  setText($("document"), DOCUMENT);
  setText($("variables"), variablesText);
  $("graphiql").hidden = !hasGraphiql;
  const [query, values] = [DOCUMENT, variablesText].map(encodeURIComponent);
  setAttribute($("graphiql"), "href", `${ENDPOINT}#query=${query}&variables=${values}`);
}

/** Milliseconds until the rows had come, and until everything had. */
export function showDuration(toRows, toEnd) {
  const [rows, end] = [toRows, toEnd].map((milliseconds) => `${Math.round(milliseconds)} ms`);
  setText($("summary"), rows === end ? end : `rows after ${rows}, all after ${end}`);
}

/** `explain`: `extensions.gateway` of the answer, or null if the operation on the page is not explained. */
export function showExplanation(explain) {
  const { cache, age, requests = [] } = explain?.fields.sessions ?? {};
  const parts = [];
  if (cache) parts.push(`cache ${cache}${age ? `, ${age.toFixed(1)} s old` : ""}`);
  const requestCount = requests.length === 1 ? "1 request" : `${requests.length} requests`;
  if (explain) parts.push(`${requestCount} to LangSmith`, `cost ${explain.cost}`);
  setText($("explained"), explain ? parts.join(" · ") : UNEXPLAINED);
  $("requests").replaceChildren(...requests.map((request) => element("li", {}, requestText(request))));
}

function requestText({ path, params, status, ms, attempts }) {
  const pairs = Object.entries(params).map(([name, value]) => `${name}=${paramText(name, value)}`);
  const tries = attempts > 1 ? `, ${attempts} attempts` : "";
  return `GET ${path}?${pairs.join("&")} – ${status ?? "no answer"}, ${Math.round(ms)} ms${tries}`;
}

const paramText = (name, value) => (name === "id" ? `(${[value].flat().length} ids)` : [value].flat().join(","));
