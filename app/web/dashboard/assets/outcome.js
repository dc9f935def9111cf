/** Shows the GraphQL operation, how long it took, and its requests to LangSmith. */
import { $, element, setAttribute, setText } from "./dom.js";
import { DOCUMENT, ENDPOINT } from "./gateway.js";

/** `hasGraphiql`: whether this gateway serves GraphiQL, for the link that opens the operation there. */
export function showOperation(variables, hasGraphiql) {
  const variablesText = JSON.stringify(variables, null, 2);
  setText($("document"), DOCUMENT);
  setText($("variables"), variablesText);
  $("graphiql").hidden = !hasGraphiql;
  const [query, values] = [DOCUMENT, variablesText].map(encodeURIComponent);
  setAttribute($("graphiql"), "href", `${ENDPOINT}#query=${query}&variables=${values}`);
}

/** @param {import("./gateway.js").Answer} answer */
export function showOutcome({ milliseconds, explain }) {
  const { cache, age, requests = [] } = explain?.fields.sessions ?? {};
  const parts = [`${Math.round(milliseconds)} ms`];
  if (cache) parts.push(`cache ${cache}${age ? `, ${age.toFixed(1)} s old` : ""}`);
  const requestCount = requests.length === 1 ? "1 request" : `${requests.length} requests`;
  if (explain) parts.push(`${requestCount} to LangSmith`, `cost ${explain.cost}`);
  setText($("summary"), parts.join(" · "));
  $("requests").replaceChildren(...requests.map((request) => element("li", {}, requestText(request))));
}

function requestText({ path, params, status, ms, attempts }) {
  const pairs = Object.entries(params).map(([name, value]) => `${name}=${paramText(name, value)}`);
  const tries = attempts > 1 ? `, ${attempts} attempts` : "";
  return `GET ${path}?${pairs.join("&")} – ${status ?? "no answer"}, ${Math.round(ms)} ms${tries}`;
}

const paramText = (name, value) => (name === "id" ? `(${[value].flat().length} ids)` : [value].flat().join(","));
