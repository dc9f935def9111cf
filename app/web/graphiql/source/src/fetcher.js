// Runs operations, and passes the explanation of each run to the Upstream panel.

import { buildSchema, introspectionFromSchema, parse } from "graphql";
import { endpoint, page } from "./page.js";
import { lastRun } from "./last-run.js";

const CREDENTIALS = ["x-api-key", "authorization", "x-tenant-id", "x-organization-id"];

// The credentials of the last tab that had any, for tabs without credentials. They are in memory only.
let lastCredentials = {};

export function fetcher({ query, variables, operationName: selectedName }, { headers } = {}) {
  if (selectedName === "IntrospectionQuery") return introspection();
  const operationName = operationNameIn(query, selectedName);
  // GraphiQL can unsubscribe from an observable; the gateway then cancels its requests to LangSmith.
  return {
    subscribe({ next, error, complete }) {
      const controller = new AbortController();
      run({ query, variables, operationName }, headers, controller.signal)
        .then(next)
        .then(complete)
        .catch((reason) => controller.signal.aborted || error(reason));
      return { unsubscribe: () => controller.abort() };
    },
  };
}

async function run(operation, editedHeaders, signal) {
  const started = performance.now();
  const response = await fetch(endpoint, {
    method: "POST",
    headers: {
      accept: "application/json",
      ...withLastCredentials(editedHeaders),
      "content-type": "application/json",
      ...(page.explain && { "x-gateway-explain": "1" }),
    },
    body: JSON.stringify(operation),
    signal,
  });
  const result = await response.json().catch(() => {
    throw new Error(`${endpoint} answered with status ${response.status} and no JSON.`);
  });
  const { gateway, ...extensions } = result.extensions ?? {};
  lastRun.set({ name: operation.operationName, gateway, ms: performance.now() - started, errors: result.errors?.length ?? 0 });
  // The Upstream panel shows `extensions.gateway`, so the response is shown without it.
  const { extensions: _, ...shown } = result;
  return Object.keys(extensions).length ? { ...shown, extensions } : shown;
}

// Right after a change of tabs, GraphiQL still passes the name of the operation in the previous tab.
function operationNameIn(query, selectedName) {
  try {
    const operations = parse(query).definitions.filter((each) => each.kind === "OperationDefinition");
    return operations.length === 1 ? operations[0].name?.value : selectedName;
  } catch {
    return selectedName;
  }
}

// The headers of the tab that have a value, together with the last credentials.
function withLastCredentials(editedHeaders) {
  const entries = Object.entries(editedHeaders ?? {}).map(([name, value]) => [name.toLowerCase(), String(value).trim()]);
  const headers = Object.fromEntries(entries.filter(([, value]) => value && !/^bearer$/i.test(value)));
  const credentials = Object.fromEntries(Object.entries(headers).filter(([name]) => CREDENTIALS.includes(name)));
  if (credentials["x-api-key"] || credentials.authorization) lastCredentials = credentials;
  return { ...lastCredentials, ...headers };
}

// Everybody may read /schema.graphql, while an introspection query would need a key.
async function introspection() {
  const response = await fetch("./schema.graphql");
  if (!response.ok) throw new Error(`/schema.graphql answered with status ${response.status}.`);
  return { data: introspectionFromSchema(buildSchema(await response.text()), { inputValueDeprecation: true }) };
}
