// What Apollo Client makes of the gateway whose URL is given.
import { CombinedGraphQLErrors, gql } from '@apollo/client';

import * as operations from '../operations.mjs';
import { report } from '../report.mjs';
import { revalidating } from '../revalidating.mjs';
import { until, witness } from '../witness.mjs';
import { connected, polled } from './client.mjs';

const uri = process.argv[2];
const key = { 'x-api-key': 'demo' };

async function paged() {
  const { seen, fetch } = witness();
  const client = connected(uri, key, fetch);
  const shown = client.watchQuery({ query: gql(operations.pages) });
  shown.subscribe(() => {});
  await until(() => shown.getCurrentResult().data?.sessions);
  const { endCursor } = shown.getCurrentResult().data.sessions.pageInfo;
  await shown.fetchMore({ variables: { after: endCursor } });
  await until(() => shown.getCurrentResult().data.sessions.edges.length > 3);
  await shown.fetchMore({ variables: { after: endCursor } });
  const { edges, pageInfo } = shown.getCurrentResult().data.sessions;
  client.stop();
  return { ids: edges.map(({ node }) => node.id), pageInfo, seen };
}

async function numbered() {
  const client = connected(uri, key);
  const query = gql(operations.numbered);
  for (const offset of [0, 2]) await client.query({ query, variables: { offset } });
  return [0, 2].flatMap((offset) =>
    client.cache.readQuery({ query, variables: { offset } }).sessions.edges.map(({ node }) => node.id),
  );
}

/** Each is sent, in turn; then each is read from the cache alone. */
async function kept(queries) {
  const client = connected(uri, key);
  for (const query of queries) await client.query({ query: gql(query), fetchPolicy: 'network-only' });
  return queries.map((query) => ({ query, read: client.cache.readQuery({ query: gql(query) }) }));
}

async function refused({ headers, query }) {
  const { seen, fetch } = witness();
  const { data, error } = await connected(uri, headers, fetch).query({ query: gql(query), errorPolicy: 'all' });
  if (!CombinedGraphQLErrors.is(error)) throw error;
  return { codes: error.errors.map(({ extensions }) => extensions.code), status: seen[0].status, data: data ?? null };
}

async function polling() {
  const { seen, fetch } = witness();
  const client = connected(uri, key, revalidating(fetch));
  const shown = polled(client, gql(operations.polled), {}, 20);
  const failures = [];
  shown.subscribe(({ error }) => error && failures.push(String(error)));
  await until(() => seen.length >= 4);
  const { data } = shown.getCurrentResult();
  client.stop();
  return { query: operations.polled, statuses: seen.slice(0, 4).map(({ status }) => status), failures, data };
}

await report({ paged, numbered, polling, kept, refused });
