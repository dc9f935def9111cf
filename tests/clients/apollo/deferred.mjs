// Runs operations with @defer with Apollo Client, in both formats, against the gateway with the given URL.
import { CombinedGraphQLErrors, NetworkStatus, gql } from '@apollo/client';
import { Defer20220824Handler, GraphQL17Alpha9Handler } from '@apollo/client/incremental';
import { print } from 'graphql';

import { runScenarios } from '../deferred.mjs';
import { createClient } from './client.mjs';

const watcher = (incrementalHandler) => (query, show) => {
  const client = createClient(process.argv[2], { 'x-api-key': 'demo' }, fetch, incrementalHandler);
  const observed = client.watchQuery({ query: gql(query), errorPolicy: 'all' });
  observed.subscribe(({ data, error, networkStatus }) => {
    const isOfGateway = CombinedGraphQLErrors.is(error);
    show({
      data,
      errors: isOfGateway ? error.errors : [],
      failure: error && !isOfGateway ? String(error) : undefined,
      isComplete: [NetworkStatus.ready, NetworkStatus.error].includes(networkStatus),
    });
  });
  const poll = () => observed.reobserve({ variables: { defer: false }, pollInterval: 20 });
  const cached = () => client.cache.diff({ query: gql(query), returnPartialData: true, optimistic: false }).result;
  const more = (after) => observed.fetchMore({ variables: { after } });
  return { poll, more, cached, stop: () => client.stop() };
};
/** Whether the handler of the draft format leaves an operation as it is written. */
function isUnchanged(query) {
  const document = gql(query);
  return print(new GraphQL17Alpha9Handler().documentTransform.transformDocument(document)) === print(document);
}

console.log(JSON.stringify({
  old: await runScenarios(watcher(new Defer20220824Handler())),
  draft: await runScenarios(watcher(new GraphQL17Alpha9Handler())),
  unchanged: ['', '(label: "later")'].map((label) => isUnchanged(`{ sessions { nodes { id ... @defer${label} { runCount } } } }`)),
}));
