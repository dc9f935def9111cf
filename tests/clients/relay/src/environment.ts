import {
  Environment, Network, RecordSource, Store, fetchQuery,
  type FetchFunction, type GraphQLResponse, type GraphQLTaggedNode, type OperationType,
} from 'relay-runtime';

export function connected(url: string, headers: Record<string, string>, fetch = globalThis.fetch): Environment {
  const accept = 'application/graphql-response+json, application/json;q=0.9';
  const ask: FetchFunction = async ({ name, text }, variables) => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { accept, 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ operationName: name, query: text, variables }),
    });
    return (await response.json()) as GraphQLResponse;
  };
  return new Environment({ network: Network.create(ask), store: new Store(new RecordSource()) });
}

/** Components that read the query are rendered anew when something changes. Ended by `unsubscribe`. */
export const polled = <Query extends OperationType>(
  environment: Environment, query: GraphQLTaggedNode, variables: Query['variables'], milliseconds = 15_000,
) => {
  const again = () => fetchQuery<Query>(environment, query, variables, { fetchPolicy: 'network-only' });
  return again().poll(milliseconds).subscribe({});
};
