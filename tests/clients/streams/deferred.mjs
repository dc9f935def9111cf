// Runs operations with @defer with programs that read the parts of an answer without merging them, against the gateway
// with the given URL: GraphiQL's fetcher, which reads the draft format, and meros, here with the earlier one. And two
// queries with graphql-request, which reads JSON only.
import { request } from 'node:http';

import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphQLClient } from 'graphql-request';
import { meros } from 'meros/node';

import { control, runScenarios } from '../deferred.mjs';
import { showSessions } from '../json_only/two_queries.mjs';
import { until } from '../recording.mjs';

const [, , url] = process.argv;
const headers = { 'content-type': 'application/json', 'x-api-key': 'demo' };

const fetcher = createGraphiQLFetcher({ url, headers, fetch });
async function* runWithGraphiQL(query) {
  for await (const payloads of await fetcher({ query })) yield* [payloads].flat();
}

async function* runWithMeros(query) {
  const accept = 'multipart/mixed;deferSpec=20220824, application/json';
  const response = await new Promise((resolve, reject) => {
    const sent = request(url, { method: 'POST', headers: { ...headers, accept } }, resolve);
    sent.on('error', reject).end(JSON.stringify({ query }));
  });
  for await (const { body } of await meros(response)) yield body;
}

const watcher = (run) => (query, show) => {
  let data;
  const poll = async () => {
    const payloads = [];
    try {
      for await (const payload of run(query)) {
        payloads.push(payload);
        data = payloads[0].data;
        show({ data, payloads, isComplete: !payload.hasNext });
      }
    } catch (error) {
      show({ data, payloads, failure: String(error), isComplete: true });
    }
  };
  poll();
  return { poll, cached: () => data, stop: () => {} };
};
/** The names are shown while the statistics are held back. */
async function runTwoQueries() {
  const shown = [];
  await control('pass-time');
  await control('hold');
  const running = showSessions(url, headers, (data) => shown.push(data));
  await until(() => shown.length);
  await control('release');
  await running;
  return shown;
}

const deferred = '{ sessions(first: 3) { nodes { id name ... @defer { runCount latencyP99 } } } }';
console.log(JSON.stringify({
  graphiql: await runScenarios(watcher(runWithGraphiQL), { defersPolls: true, without: ['paged'] }),
  meros: await runScenarios(watcher(runWithMeros), { defersPolls: true, without: ['paged'] }),
  twoQueries: await runTwoQueries(),
  whole: { query: deferred, data: await new GraphQLClient(url, { headers }).request(deferred) },
}));
