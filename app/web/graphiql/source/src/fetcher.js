// Runs operations, and tells the Upstream panel what each cost.

import { buildSchema, introspectionFromSchema, parse } from "graphql";
import { endpoint, page } from "./page.js";
import { lastRun } from "./runs.js";

const CREDENTIALS = ["x-api-key", "authorization", "x-tenant-id", "x-organization-id"];

// Those of the last tab that had any, for the tabs that have none: in memory only.
let remembered = {};

export function fetcher({ query, variables, operationName: chosen }, { headers } = {}) {
  if (chosen === "IntrospectionQuery") return introspection();
  const operationName = nameIn(query, chosen);
  // What GraphiQL can stop: the gateway then stops asking LangSmith.
  return {
    subscribe({ next, error, complete }) {
      const stop = new AbortController();
      run({ query, variables, operationName }, headers, stop.signal)
        .then(next)
        .then(complete)
        .catch((reason) => stop.signal.aborted || error(reason));
      return { unsubscribe: () => stop.abort() };
    },
  };
}

async function run(operation, typed, signal) {
  const started = performance.now();
  const response = await fetch(endpoint, {
    method: "POST",
    headers: {
      accept: "application/json",
      ...credentialsAnd(typed),
      "content-type": "application/json",
      ...(page.explain && { "x-gateway-explain": "1" }),
    },
    body: JSON.stringify(operation),
    signal,
  });
  const result = await response.json().catch(() => {
    throw new Error(`${endpoint} answered ${response.status}, without JSON.`);
  });
  const { gateway, ...extensions } = result.extensions ?? {};
  lastRun.set({ name: operation.operationName, gateway, ms: performance.now() - started, errors: result.errors?.length ?? 0 });
  // The panel shows it.
  const { extensions: _, ...shown } = result;
  return Object.keys(extensions).length ? { ...shown, extensions } : shown;
}

// Just after a change of tabs, GraphiQL still has the name of the operation in the other.
function nameIn(query, chosen) {
  try {
    const names = parse(query).definitions.filter((each) => each.kind === "OperationDefinition").map((each) => each.name?.value);
    return names.length === 1 ? names[0] : chosen;
  } catch {
    return chosen;
  }
}

function credentialsAnd(typed) {
  const named = Object.entries(typed ?? {}).map(([name, value]) => [name.toLowerCase(), String(value).trim()]);
  const filled = Object.fromEntries(named.filter(([, value]) => value && !/^bearer$/i.test(value)));
  const credentials = Object.fromEntries(Object.entries(filled).filter(([name]) => CREDENTIALS.includes(name)));
  if (credentials["x-api-key"] || credentials.authorization) remembered = credentials;
  return { ...remembered, ...filled };
}

// The schema is served to everybody; an operation for it would need a key.
async function introspection() {
  const response = await fetch("./schema.graphql");
  if (!response.ok) throw new Error(`/schema.graphql answered ${response.status}.`);
  return { data: introspectionFromSchema(buildSchema(await response.text()), { inputValueDeprecation: true }) };
}
