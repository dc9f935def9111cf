import {
  Environment, Network, RecordSource, Store, fetchQuery,
  type FetchFunction, type GraphQLResponse, type GraphQLTaggedNode, type OperationType,
} from 'relay-runtime';

export function createEnvironment(url: string, headers: Record<string, string>, fetch = globalThis.fetch): Environment {
  const accept = 'application/graphql-response+json, application/json;q=0.9';
  const fetchResponse: FetchFunction = async ({ name, text }, variables) => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { accept, 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ operationName: name, query: text, variables }),
    });
    return (await response.json()) as GraphQLResponse;
  };
  return new Environment({ network: Network.create(fetchResponse), store: new Store(new RecordSource()) });
}

/** Fetches the query at an interval. Components that read it render again after a change. `unsubscribe` stops it. */
export const poll = <Query extends OperationType>(
  environment: Environment, query: GraphQLTaggedNode, variables: Query['variables'], milliseconds = 15_000,
) => {
  const result = fetchQuery<Query>(environment, query, variables, { fetchPolicy: 'network-only' });
  return result.poll(milliseconds).subscribe({});
};
