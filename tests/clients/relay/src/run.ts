// Runs Relay, with the artifacts that its compiler generated from sessions.ts, against the gateway with the given URL.
import { fetchQuery, getSelector, type GraphQLTaggedNode, type ReaderFragment } from 'relay-runtime';

import { createEnvironment, poll } from './environment';
import List from './__generated__/sessionsList.graphql';
import type { sessionsList$data, sessionsList$key } from './__generated__/sessionsList.graphql';
import More, { type sessionsMore } from './__generated__/sessionsMore.graphql';
import One, { type sessionsOneQuery } from './__generated__/sessionsOneQuery.graphql';
import Other, { type sessionsOtherQuery } from './__generated__/sessionsOtherQuery.graphql';
import First, { type sessionsQuery } from './__generated__/sessionsQuery.graphql';
import Row from './__generated__/sessionsRow.graphql';
import type { sessionsRow$data, sessionsRow$key } from './__generated__/sessionsRow.graphql';
import Again, { type sessionsRowAgain } from './__generated__/sessionsRowAgain.graphql';
import Wrong, { type sessionsWrongQuery } from './__generated__/sessionsWrongQuery.graphql';

type Edge = NonNullable<sessionsList$data['sessions']>['edges'][number];

declare const process: { argv: string[] };
const url = process.argv[2] as string;
const exchanges: [string | null, string | null, number][] = [];
const recordingFetch: typeof fetch = async (input, init) => {
  const response = await fetch(input, init);
  exchanges.push([new Headers(init?.headers).get('accept'), response.headers.get('content-type'), response.status]);
  return response;
};
const environment = createEnvironment(url, { 'x-api-key': 'demo' }, recordingFetch);

/** Reads a fragment from the store, as `useFragment` does. */
function read<Data>(fragment: ReaderFragment, key: unknown): Data {
  const selector = getSelector(fragment, key);
  if (selector?.kind !== 'SingularReaderSelector') throw new Error('the fragment is not on a single record');
  return environment.lookup(selector).data as unknown as Data;
}

function rowOf(edge: Edge) {
  const { name, totalTokens, totalCost, day, month, feedbackStats } = read<sessionsRow$data>(Row, edge.node);
  // These lines compile only if the custom scalars have the configured types.
  const tokens: number | null | undefined = totalTokens;
  const cost: string | null | undefined = totalCost;
  return { id: edge.node.id, name, totalTokens: tokens, totalCost: cost, day, month, feedbackStats };
}

async function rows() {
  const data = (await fetchQuery<sessionsQuery>(environment, First, {}, { fetchPolicy: 'store-or-network' }).toPromise())!;
  return read<sessionsList$data>(List, data satisfies sessionsList$key).sessions!.edges;
}

async function errorsOf(headers: Record<string, string>, id: string) {
  const data = await fetchQuery<sessionsOneQuery>(createEnvironment(url, headers), One, { id }).toPromise();
  return data!.session.ok ? null : data!.session.errors;
}

/** Relay throws for a response without data, which a refused operation has. */
async function errorsThrownFor(query: GraphQLTaggedNode, variables: sessionsWrongQuery['variables']) {
  try {
    return await fetchQuery<sessionsWrongQuery>(createEnvironment(url, {}), query, variables).toPromise();
  } catch (error) {
    return (error as { source: { errors: unknown } }).source.errors;
  }
}

async function main() {
  const first = (await rows()).length;
  const data = await fetchQuery<sessionsMore>(environment, More, { count: 3, cursor: 'djE6Mg' }).toPromise();
  const more = read<sessionsList$data>(List, data).sessions!.edges.length;
  const edges = await rows();
  const { id } = edges[0]!.node;

  // Fetch other fields and another window of a row on the page; the store keeps both.
  const { session } = (await fetchQuery<sessionsOtherQuery>(environment, Other, { id }).toPromise())!;
  const started: string | null | undefined = session?.startTime;
  const again = (await fetchQuery<sessionsRowAgain>(environment, Again, { id }).toPromise())!;
  const refetched = read<sessionsRow$data>(Row, again.node satisfies sessionsRow$key | null | undefined);

  const before = exchanges.length;
  const polling = poll<sessionsQuery>(environment, First, {}, 20);
  while (exchanges.length < before + 3) await new Promise((resolve) => setTimeout(resolve, 5));
  polling.unsubscribe();

  console.log(
    JSON.stringify({
      first,
      more,
      rows: edges.map(rowOf),
      other: { ...session, startTime: started },
      refetched: refetched.name,
      exchanges,
      withoutKey: await errorsOf({}, id),
      unknownKey: await errorsOf({ 'x-api-key': 'stranger' }, id),
      argument: await errorsOf({ 'x-api-key': 'demo' }, 'x'),
      polled: (await rows()).map(rowOf),
      thrown: await errorsThrownFor(Wrong, { ids: ['x'] }),
    }),
  );
}

void main();
