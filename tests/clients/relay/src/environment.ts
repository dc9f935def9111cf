import { meros } from 'meros/browser';
import {
  Environment, Network, Observable, RecordSource, Store, fetchQuery,
  type FetchFunction, type GraphQLResponse, type GraphQLTaggedNode, type OperationType, type RequestParameters,
  type Variables,
} from 'relay-runtime';

import { createReader, type Payload } from './incremental';

const accept = 'multipart/mixed;incrementalSpec=v0.2, application/graphql-response+json, application/json;q=0.9';

export function createEnvironment(url: string, headers: Record<string, string>, fetch = globalThis.fetch): Environment {
  async function* responses({ name, text }: RequestParameters, variables: Variables): AsyncGenerator<GraphQLResponse> {
    const response = await fetch(url, {
      method: 'POST',
      headers: { accept, 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ operationName: name, query: text, variables }),
    });
    const read = createReader();
    const parts = await meros<Payload>(response);
    if (parts instanceof Response) yield read(await parts.json());
    else for await (const { body } of parts) yield read(body as Payload);
  }
  const fetchResponses: FetchFunction = (request, variables) =>
    Observable.create((sink) => {
      const send = async () => {
        for await (const response of responses(request, variables)) sink.next(response);
      };
      send().then(sink.complete, sink.error);
    });
  return new Environment({ network: Network.create(fetchResponses), store: new Store(new RecordSource()) });
}

/** Fetches the query at an interval. Components that read it render again after a change. `unsubscribe` stops it. */
export const poll = <Query extends OperationType>(
  environment: Environment, query: GraphQLTaggedNode, variables: Query['variables'], milliseconds = 15_000,
) => {
  const result = fetchQuery<Query>(environment, query, variables, { fetchPolicy: 'network-only' });
  return result.poll(milliseconds).subscribe({});
};
