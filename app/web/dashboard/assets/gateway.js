/** Sends the GraphQL operation of this page to the gateway, and converts the answer, which comes in parts. */
import { IncrementalResult } from "./incremental.js";
import { boundaryOf, readParts } from "./multipart.js";
import { sessionOf } from "./session.js";

export const ENDPOINT = "graphql";
const TIMEOUT = 45_000;
const HEADERS = {
  "Content-Type": "application/json",
  Accept: "multipart/mixed;incrementalSpec=v0.2, application/json;q=0.9",
  // With `If-None-Match`, browsers add `Cache-Control: max-age=0` if there is no other, and so ask for new statistics.
  "Cache-Control": "no-transform",
};

export const DOCUMENT = `query Dashboard(
  $first: Int!, $offset: Int, $filter: SessionFilter, $order: SessionOrder
  $window: Duration!, $twice: Duration!, $compare: Boolean!
) {
  sessions(
    first: $first, offset: $offset, filter: $filter
    orderBy: $order, stats: { last: $window }
  ) {
    nodes {
      id name referenceDatasetId
      ... @defer(label: "statistics") {
        runCount latencyP50 latencyP99 errorRate
        totalTokens totalCost lastRunStartTime
      }
      ... @include(if: $compare) @defer(label: "comparison") {
        twice: stats(last: $twice) {
          runCount errorRate totalTokens totalCost
        }
      }
    }
    pageInfo { hasNextPage }
  }
}`;

/**
 * @typedef {{message: string, code: ?string, argument: ?string, retryAfter: ?number, path: (string | number)[]}} Failure
 * @typedef {{isComplete: boolean, sessions: ?import("./session.js").Session[], hasNext: boolean, failures: Failure[],
 *   milliseconds: number, explain: ?object, etag: ?string}} Answer
 *   As much as has come. `sessions` is null if the operation failed; `explain` is `extensions.gateway`.
 */

/**
 * Yields the answer each time that more of it has come; `isComplete` is true for the last one. Never throws: every error
 * becomes a failure of the answer.
 *
 * @param {{headers: object, kept: ?Answer, signal: AbortSignal}} options
 *   `kept`: an earlier answer to the same operation. It is yielded again if the gateway says that it has not changed.
 * @returns {AsyncGenerator<Answer>}
 */
export async function* fetchAnswers(variables, { headers, kept, signal }) {
  const started = performance.now();
  const result = new IncrementalResult();
  let response;
  const answer = () => ({
    ...convert(result, variables.compare),
    milliseconds: performance.now() - started,
    etag: result.isComplete ? response?.headers.get("ETag") ?? null : null,
  });
  try {
    const condition = kept?.etag && { "If-None-Match": kept.etag };
    response = await fetch(ENDPOINT, {
      method: "POST",
      headers: { ...HEADERS, ...condition, ...headers },
      body: JSON.stringify({ query: DOCUMENT, variables }),
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)]),
    });
    if (response.status === 304) return yield { ...kept, milliseconds: performance.now() - started };
    for await (const payload of readPayloads(response)) {
      if (!result.data && !payload.data && !payload.errors) throw new SyntaxError("It is not a GraphQL response.");
      result.add(payload);
      yield answer();
    }
    if (!result.isComplete) throw new TypeError("The last payload is missing.");
  } catch (error) {
    const message = messageOf(error, response);
    result.add({ errors: [{ message }] });
    yield { ...answer(), etag: null };
  }
}

async function* readPayloads(response) {
  const boundary = boundaryOf(response.headers.get("Content-Type") ?? "");
  if (boundary === null) yield await response.json();
  else for await (const part of readParts(response.body, boundary)) yield JSON.parse(part);
}

function convert({ data, errors, extensions, isComplete }, isCompared) {
  const failures = errors.map(failureOf);
  // The path of an error: "sessions", "nodes", the index of the row, and the field.
  const inRows = failures.filter(({ path }) => path.length > 2);
  const failedWindows = new Set(inRows.map(({ path }) => (path[3] === "twice" ? "twice" : "now")));
  const connection = data?.sessions;
  return {
    isComplete,
    sessions: connection?.nodes.map((node) => sessionOf(node, { isComplete, isCompared, failedWindows })) ?? null,
    hasNext: connection?.pageInfo.hasNextPage ?? false,
    failures,
    explain: extensions.gateway ?? null,
  };
}

function messageOf(error, response) {
  if (error.name === "TimeoutError") return `The gateway did not answer within ${TIMEOUT / 1000} seconds.`;
  if (!response) return "The gateway cannot be reached.";
  return error instanceof SyntaxError
    ? `The response (HTTP ${response.status}) did not come from the gateway, or the gateway is failing.`
    : "The connection broke before the answer was complete.";
}

const failureOf = ({ message, extensions, path }) => ({
  message,
  code: extensions?.code ?? null,
  argument: extensions?.argument ?? null,
  retryAfter: extensions?.retryAfter ?? null,
  path: path ?? [],
});
