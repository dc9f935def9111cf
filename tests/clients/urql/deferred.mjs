// Runs operations with @defer with urql, with graphcache and without it, against the gateway with the given URL.
import { Client, cacheExchange, fetchExchange } from '@urql/core';

import { runScenarios } from '../deferred.mjs';
import { createClient } from './client.mjs';

const withoutGraphcache = (url, headers) =>
  new Client({ url, fetchOptions: { headers }, exchanges: [cacheExchange, fetchExchange] });

const watcher = (create, pollVariables) => (query, show) => {
  const client = create(process.argv[2], { 'x-api-key': 'demo' });
  const subscriptions = [];
  const run = (variables, options) => {
    const { unsubscribe } = client.query(query, variables, options).subscribe(({ data, error, hasNext, stale }) =>
      show({
        data,
        errors: error?.graphQLErrors.map(({ message, path, extensions }) => ({ message, path, extensions })) ?? [],
        failure: error?.networkError && String(error.networkError),
        isComplete: !hasNext && !stale,
      }),
    );
    subscriptions.push(unsubscribe);
  };
  run({});
  return {
    poll: () => run(pollVariables, { requestPolicy: 'network-only' }),
    more: (after) => run({ after }),
    cached: () => client.readQuery(query, {}, { requestPolicy: 'cache-only' })?.data ?? null,
    stop: () => subscriptions.forEach((unsubscribe) => unsubscribe()),
  };
};
console.log(JSON.stringify({
  graphcache: await runScenarios(watcher(createClient, {}), { defersPolls: true, without: ['aboveTheList'] }),
  urql: await runScenarios(watcher(withoutGraphcache, { defer: false }), { without: ['paged'] }),
}));
