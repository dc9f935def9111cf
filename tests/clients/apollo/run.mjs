// Runs Apollo Client against the gateway with the given URL.
import { CombinedGraphQLErrors, gql } from '@apollo/client';

import * as operations from '../operations.mjs';
import { recording, until } from '../recording.mjs';
import { report } from '../report.mjs';
import { revalidating } from '../revalidating.mjs';
import { createClient, poll } from './client.mjs';

const uri = process.argv[2];
const key = { 'x-api-key': 'demo' };

async function page() {
  const { exchanges, fetch } = recording();
  const client = createClient(uri, key, fetch);
  const observed = client.watchQuery({ query: gql(operations.pages) });
  observed.subscribe(() => {});
  await until(() => observed.getCurrentResult().data?.sessions);
  const { endCursor } = observed.getCurrentResult().data.sessions.pageInfo;
  await observed.fetchMore({ variables: { after: endCursor } });
  await until(() => observed.getCurrentResult().data.sessions.edges.length > 3);
  await observed.fetchMore({ variables: { after: endCursor } });
  const { edges, pageInfo } = observed.getCurrentResult().data.sessions;
  client.stop();
  return { ids: edges.map(({ node }) => node.id), pageInfo, exchanges };
}

async function pageByNumber() {
  const client = createClient(uri, key);
  const query = gql(operations.numbered);
  for (const offset of [0, 2]) await client.query({ query, variables: { offset } });
  return [0, 2].flatMap((offset) =>
    client.cache.readQuery({ query, variables: { offset } }).sessions.edges.map(({ node }) => node.id),
  );
}

/** Sends all queries in turn, and then reads each from the cache only. */
async function readFromCache(queries) {
  const client = createClient(uri, key);
  for (const query of queries) await client.query({ query: gql(query), fetchPolicy: 'network-only' });
  return queries.map((query) => ({ query, read: client.cache.readQuery({ query: gql(query) }) }));
}

async function runRefused({ headers, query }) {
  const { exchanges, fetch } = recording();
  const { data, error } = await createClient(uri, headers, fetch).query({ query: gql(query), errorPolicy: 'all' });
  if (!CombinedGraphQLErrors.is(error)) throw error;
  return { codes: error.errors.map(({ extensions }) => extensions.code), status: exchanges[0].status, data: data ?? null };
}

async function pollUntilRevalidated() {
  const { exchanges, fetch } = recording();
  const client = createClient(uri, key, revalidating(fetch));
  const observed = poll(client, gql(operations.polled), {}, 20);
  const failures = [];
  observed.subscribe(({ error }) => error && failures.push(String(error)));
  await until(() => exchanges.length >= 4);
  const { data } = observed.getCurrentResult();
  client.stop();
  return { query: operations.polled, statuses: exchanges.slice(0, 4).map(({ status }) => status), failures, data };
}

await report({ page, pageByNumber, poll: pollUntilRevalidated, readFromCache, runRefused });
