// What Relay makes of the gateway whose URL is given, with what its compiler made of sessions.ts.
import { fetchQuery, getSelector, type GraphQLTaggedNode, type ReaderFragment } from 'relay-runtime';

import { connected, polled } from './environment';
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
const accepted: [string | null, string | null, number][] = [];
const witnessed: typeof fetch = async (input, init) => {
  const response = await fetch(input, init);
  accepted.push([new Headers(init?.headers).get('accept'), response.headers.get('content-type'), response.status]);
  return response;
};
const environment = connected(url, { 'x-api-key': 'demo' }, witnessed);

/** As `useFragment` does. */
function read<Data>(fragment: ReaderFragment, key: unknown): Data {
  const selector = getSelector(fragment, key);
  if (selector?.kind !== 'SingularReaderSelector') throw new Error('not one record');
  return environment.lookup(selector).data as unknown as Data;
}

function rowOf(edge: Edge) {
  const { name, totalTokens, totalCost, day, month, feedbackStats } = read<sessionsRow$data>(Row, edge.node);
  // Types of the custom scalars, as the configuration has them.
  const tokens: number | null | undefined = totalTokens;
  const cost: string | null | undefined = totalCost;
  return { id: edge.node.id, name, totalTokens: tokens, totalCost: cost, day, month, feedbackStats };
}

async function rows() {
  const data = (await fetchQuery<sessionsQuery>(environment, First, {}, { fetchPolicy: 'store-or-network' }).toPromise())!;
  return read<sessionsList$data>(List, data satisfies sessionsList$key).sessions!.edges;
}

async function refused(headers: Record<string, string>, id: string) {
  const data = await fetchQuery<sessionsOneQuery>(connected(url, headers), One, { id }).toPromise();
  return data!.session.ok ? null : data!.session.errors;
}

/** An operation that never ran has no data, and Relay throws. */
async function thrown(query: GraphQLTaggedNode, variables: sessionsWrongQuery['variables']) {
  try {
    return await fetchQuery<sessionsWrongQuery>(connected(url, {}), query, variables).toPromise();
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

  // Other fields and another window of a row that is shown: both stay.
  const { session } = (await fetchQuery<sessionsOtherQuery>(environment, Other, { id }).toPromise())!;
  const started: string | null | undefined = session?.startTime;
  const again = (await fetchQuery<sessionsRowAgain>(environment, Again, { id }).toPromise())!;
  const refetched = read<sessionsRow$data>(Row, again.node satisfies sessionsRow$key | null | undefined);

  const before = accepted.length;
  const polling = polled<sessionsQuery>(environment, First, {}, 20);
  while (accepted.length < before + 3) await new Promise((resolve) => setTimeout(resolve, 5));
  polling.unsubscribe();

  console.log(
    JSON.stringify({
      first,
      more,
      rows: edges.map(rowOf),
      other: { ...session, startTime: started },
      refetched: refetched.name,
      accepted,
      nobody: await refused({}, id),
      stranger: await refused({ 'x-api-key': 'stranger' }, id),
      argument: await refused({ 'x-api-key': 'demo' }, 'x'),
      polled: (await rows()).map(rowOf),
      thrown: await thrown(Wrong, { ids: ['x'] }),
    }),
  );
}

void main();
