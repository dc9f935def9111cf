/** The one operation of this page, and what the gateway answers. */
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
 * @typedef {{message: string, code: ?string, retryAfter: ?number}} Failure
 * @typedef {{sessions: ?import("./session.js").Session[], hasNext: boolean, failures: Failure[], milliseconds: number,
 *   explained: ?object}} Answer  `sessions` is null where there are none to show for the failures.
 */

/** Never throws. @returns {Promise<Answer>} */
export async function ask(variables, headers, signal) {
  const started = performance.now();
  const { data, errors, extensions } = await sent({ query: DOCUMENT, variables }, headers, signal);
  const connection = data?.sessions;
  return {
    sessions: connection?.nodes.map(sessionOf) ?? null,
    hasNext: connection?.pageInfo.hasNextPage ?? false,
    failures: (errors ?? []).map(failureOf),
    milliseconds: performance.now() - started,
    explained: extensions?.gateway ?? null,
  };
}

async function sent(operation, headers, signal) {
  let response;
  try {
    response = await fetch(ENDPOINT, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json", ...headers },
      body: JSON.stringify(operation),
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)]),
    });
    const body = await response.json();
    if (!body?.data && !body?.errors) throw new TypeError("This is no answer of GraphQL's.");
    return body;
  } catch (error) {
    return { errors: [{ message: described(error, response) }] };
  }
}

function described(error, response) {
  if (error.name === "TimeoutError") return `The gateway did not answer within ${TIMEOUT / 1000} seconds.`;
  return response
    ? `What answered is not the gateway, or it is failing: HTTP ${response.status}.`
    : "The gateway cannot be reached.";
}

const failureOf = ({ message, extensions }) => ({
  message,
  code: extensions?.code ?? null,
  retryAfter: extensions?.retryAfter ?? null,
});
