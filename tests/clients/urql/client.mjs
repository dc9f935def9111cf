import { Client, fetchExchange } from '@urql/core';
import { cacheExchange } from '@urql/exchange-graphcache';
import { relayPagination } from '@urql/exchange-graphcache/extras';

export const connected = (url, headers, fetch = globalThis.fetch) =>
  new Client({
    url,
    fetch,
    fetchOptions: { headers },
    exchanges: [
      cacheExchange({
        // Rows without an id are kept by their place: select the same fields of them everywhere, in one fragment.
        keys: { FeedbackStat: () => null },
        resolvers: { Query: { sessions: relayPagination() } },
      }),
      fetchExchange,
    ],
  });

/** Shows what the cache has and asks again every while. Returns a function that ends it. */
export function polled(client, query, variables, show, milliseconds = 15_000) {
  const ask = () => client.query(query, variables, { requestPolicy: 'network-only' });
  const { unsubscribe } = client.query(query, variables).subscribe(show);
  const timer = setInterval(() => ask().toPromise(), milliseconds);
  return () => (clearInterval(timer), unsubscribe());
}
