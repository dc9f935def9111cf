import { Client, fetchExchange } from '@urql/core';
import { cacheExchange } from '@urql/exchange-graphcache';
import { relayPagination } from '@urql/exchange-graphcache/extras';

export const createClient = (url, headers, fetch = globalThis.fetch) =>
  new Client({
    url,
    fetch,
    fetchOptions: { headers },
    exchanges: [
      cacheExchange({
        // Rows without an id are cached by position: select the same fields of them everywhere, with one fragment.
        keys: { FeedbackStat: () => null, ExperimentProgress: () => null, EvaluatorProgress: () => null },
        resolvers: { Query: { sessions: relayPagination() } },
      }),
      fetchExchange,
    ],
  });

/** Shows the cached result, and fetches it again at an interval. Returns a function that stops the polling. */
export function poll(client, query, variables, show, milliseconds = 15_000) {
  const refetch = () => client.query(query, variables, { requestPolicy: 'network-only' });
  const { unsubscribe } = client.query(query, variables).subscribe(show);
  const timer = setInterval(() => refetch().toPromise(), milliseconds);
  return () => (clearInterval(timer), unsubscribe());
}
