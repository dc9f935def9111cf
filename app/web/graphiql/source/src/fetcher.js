// Runs operations, and passes the explanation of each run to the Upstream panel.

import { buildSchema, introspectionFromSchema, parse } from "graphql";
import { meros } from "meros/browser";
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
      run({ query, variables, operationName }, headers, controller.signal, next)
        .then(complete)
        .catch((reason) => controller.signal.aborted || error(reason));
      return { unsubscribe: () => controller.abort() };
    },
  };
}

// Passes each payload of the answer to `next`. The answer to an operation with @defer has several payloads, which
// GraphiQL merges. Each explains all requests so far.
async function run(operation, editedHeaders, signal, next) {
  const started = performance.now();
  let progress = { name: operation.operationName, errors: 0 };
  try {
    for await (const payload of payloads(await send(operation, editedHeaders, signal), signal)) {
      const { gateway = progress.gateway, ...extensions } = payload.extensions ?? {};
      const ms = performance.now() - started;
      const errors = progress.errors + errorsIn(payload);
      progress = { ...progress, gateway, ms, firstMs: progress.firstMs ?? ms, errors, isPending: payload.hasNext === true };
      lastRun.set(progress);
      // The Upstream panel shows `extensions.gateway`, so the response is shown without it.
      const { extensions: _, ...shown } = payload;
      next(Object.keys(extensions).length ? { ...shown, extensions } : shown);
    }
  } finally {
    if (progress.isPending) lastRun.set({ ...progress, isPending: false });
  }
}

function send(operation, editedHeaders, signal) {
  return fetch(endpoint, {
    method: "POST",
    headers: {
      accept: "application/json, multipart/mixed;incrementalSpec=v0.2",
      ...withLastCredentials(editedHeaders),
      "content-type": "application/json",
      ...(page.explain && { "x-gateway-explain": "1" }),
    },
    body: JSON.stringify(operation),
    signal,
  });
}

// The whole answer, or its parts as they arrive. If the connection breaks, the parts that came stay, with an error.
async function* payloads(response, signal) {
  const parts = await meros(response);
  if (parts === response) {
    yield await response.json().catch(() => {
      throw new Error(`${endpoint} answered with status ${response.status} and no JSON.`);
    });
    return;
  }
  let hasNext = true;
  try {
    for await (const { body } of parts) {
      hasNext = body.hasNext;
      yield body;
    }
  } catch (reason) {
    if (signal.aborted) throw reason;
  }
  if (hasNext) yield { errors: [{ message: "The connection broke before the answer was complete." }], hasNext: false };
}

const errorsIn = ({ errors, incremental = [] }) =>
  [{ errors }, ...incremental].reduce((sum, each) => sum + (each.errors?.length ?? 0), 0);

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
