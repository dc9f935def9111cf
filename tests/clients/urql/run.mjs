// What urql with graphcache makes of the gateway whose URL is given.
import * as operations from '../operations.mjs';
import { report } from '../report.mjs';
import { revalidating } from '../revalidating.mjs';
import { until, witness } from '../witness.mjs';
import { connected, polled } from './client.mjs';

const uri = process.argv[2];
const key = { 'x-api-key': 'demo' };

const read = (client, query, variables = {}) =>
  client.query(query, variables, { requestPolicy: 'cache-only' }).toPromise();
const sent = (client, query, variables = {}) =>
  client.query(query, variables, { requestPolicy: 'network-only' }).toPromise();

async function paged() {
  const { seen, fetch } = witness();
  const client = connected(uri, key, fetch);
  const { data } = await sent(client, operations.pages);
  const after = data.sessions.pageInfo.endCursor;
  await sent(client, operations.pages, { after });
  await sent(client, operations.pages, { after });
  const { edges, pageInfo } = (await read(client, operations.pages)).data.sessions;
  return { ids: edges.map(({ node }) => node.id), pageInfo, seen };
}

async function numbered() {
  const client = connected(uri, key);
  for (const offset of [0, 2]) await sent(client, operations.numbered, { offset });
  const pages = await Promise.all([0, 2].map((offset) => read(client, operations.numbered, { offset })));
  return pages.flatMap(({ data }) => data.sessions.edges.map(({ node }) => node.id));
}

/** Each is sent, in turn; then each is read from the cache alone. */
async function kept(queries) {
  const client = connected(uri, key);
  for (const query of queries) await sent(client, query);
  return Promise.all(queries.map(async (query) => ({ query, read: (await read(client, query)).data })));
}

async function refused({ headers, query }) {
  const { seen, fetch } = witness();
  const { data, error } = await sent(connected(uri, headers, fetch), query);
  const codes = error.graphQLErrors.map(({ extensions }) => extensions.code);
  return { codes, status: seen[0].status, data: data ?? null };
}

async function polling() {
  const { seen, fetch } = witness();
  const client = connected(uri, key, revalidating(fetch));
  const failures = [];
  let data;
  const stop = polled(client, operations.polled, {}, (result) => {
    if (result.error) failures.push(String(result.error));
    data = result.data;
  }, 20);
  await until(() => seen.length >= 4);
  stop();
  return { query: operations.polled, statuses: seen.slice(0, 4).map(({ status }) => status), failures, data };
}

await report({ paged, numbered, polling, kept, refused });
