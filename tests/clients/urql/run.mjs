// Runs urql with graphcache against the gateway with the given URL.
import * as operations from '../operations.mjs';
import { recording, until } from '../recording.mjs';
import { report } from '../report.mjs';
import { revalidating } from '../revalidating.mjs';
import { createClient, poll } from './client.mjs';

const uri = process.argv[2];
const key = { 'x-api-key': 'demo' };

const readCached = (client, query, variables = {}) =>
  client.query(query, variables, { requestPolicy: 'cache-only' }).toPromise();
const fetchAgain = (client, query, variables = {}) =>
  client.query(query, variables, { requestPolicy: 'network-only' }).toPromise();

async function page() {
  const { exchanges, fetch } = recording();
  const client = createClient(uri, key, fetch);
  const { data } = await fetchAgain(client, operations.pages);
  const after = data.sessions.pageInfo.endCursor;
  await fetchAgain(client, operations.pages, { after });
  await fetchAgain(client, operations.pages, { after });
  const { edges, pageInfo } = (await readCached(client, operations.pages)).data.sessions;
  return { ids: edges.map(({ node }) => node.id), pageInfo, exchanges };
}

async function pageByNumber() {
  const client = createClient(uri, key);
  for (const offset of [0, 2]) await fetchAgain(client, operations.numbered, { offset });
  const pages = await Promise.all([0, 2].map((offset) => readCached(client, operations.numbered, { offset })));
  return pages.flatMap(({ data }) => data.sessions.edges.map(({ node }) => node.id));
}

/** Sends all queries in turn, and then reads each from the cache only. */
async function readFromCache(queries) {
  const client = createClient(uri, key);
  for (const query of queries) await fetchAgain(client, query);
  return Promise.all(queries.map(async (query) => ({ query, read: (await readCached(client, query)).data })));
}

async function runRefused({ headers, query }) {
  const { exchanges, fetch } = recording();
  const { data, error } = await fetchAgain(createClient(uri, headers, fetch), query);
  const codes = error.graphQLErrors.map(({ extensions }) => extensions.code);
  return { codes, status: exchanges[0].status, data: data ?? null };
}

async function pollUntilRevalidated() {
  const { exchanges, fetch } = recording();
  const client = createClient(uri, key, revalidating(fetch));
  const failures = [];
  let data;
  const stop = poll(client, operations.polled, {}, (result) => {
    if (result.error) failures.push(String(result.error));
    data = result.data;
  }, 20);
  await until(() => exchanges.length >= 4);
  stop();
  return { query: operations.polled, statuses: exchanges.slice(0, 4).map(({ status }) => status), failures, data };
}

await report({ page, pageByNumber, poll: pollUntilRevalidated, readFromCache, runRefused });
