/** Sends the GraphQL operation of this page to the gateway, and converts the answer. */
import { sessionOf } from "./session.js";

export const ENDPOINT = "graphql";
const TIMEOUT = 45_000;

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
      runCount latencyP50 latencyP99 errorRate
      totalTokens totalCost lastRunStartTime
      twice: stats(last: $twice) @include(if: $compare) {
        runCount errorRate totalTokens totalCost
      }
    }
    pageInfo { hasNextPage }
  }
}`;

/**
 * @typedef {{message: string, code: ?string, argument: ?string, retryAfter: ?number}} Failure
 * @typedef {{sessions: ?import("./session.js").Session[], hasNext: boolean, failures: Failure[], milliseconds: number,
 *   explain: ?object}} Answer  `sessions` is null if the operation failed; `explain` is `extensions.gateway`.
 */

/** Never throws: every error becomes a failure of the answer. @returns {Promise<Answer>} */
export async function fetchSessions(variables, headers, signal) {
  const started = performance.now();
  const { data, errors, extensions } = await send({ query: DOCUMENT, variables }, headers, signal);
  const connection = data?.sessions;
  return {
    sessions: connection?.nodes.map(sessionOf) ?? null,
    hasNext: connection?.pageInfo.hasNextPage ?? false,
    failures: (errors ?? []).map(failureOf),
    milliseconds: performance.now() - started,
    explain: extensions?.gateway ?? null,
  };
}

async function send(operation, headers, signal) {
  let response;
  try {
    response = await fetch(ENDPOINT, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json", ...headers },
      body: JSON.stringify(operation),
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)]),
    });
    const body = await response.json();
    if (!body?.data && !body?.errors) throw new TypeError("The response is not a GraphQL response.");
    return body;
  } catch (error) {
    return { errors: [{ message: messageOf(error, response) }] };
  }
}

function messageOf(error, response) {
  if (error.name === "TimeoutError") return `The gateway did not answer within ${TIMEOUT / 1000} seconds.`;
  return response
    ? `The response (HTTP ${response.status}) did not come from the gateway, or the gateway is failing.`
    : "The gateway cannot be reached.";
}

const failureOf = ({ message, extensions }) => ({
  message,
  code: extensions?.code ?? null,
  argument: extensions?.argument ?? null,
  retryAfter: extensions?.retryAfter ?? null,
});
