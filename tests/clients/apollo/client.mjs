import { ApolloClient, HttpLink, InMemoryCache } from '@apollo/client';
import { relayStylePagination } from '@apollo/client/utilities';

/** Apollo keeps no objects without an id: rows of another selection are merged with those held, by their `key`. */
const byKey = {
  merge(held, rows, { mergeObjects, readField }) {
    const heldBy = new Map((held ?? []).map((row) => [readField('key', row), row]));
    return rows && rows.map((row) => mergeObjects(heldBy.get(readField('key', row)), row));
  },
};
const feedback = { feedbackStats: byKey, sessionFeedbackStats: byKey };

export const connected = (uri, headers, fetch = globalThis.fetch) =>
  new ApolloClient({
    link: new HttpLink({ uri, headers, fetch }),
    cache: new InMemoryCache({
      possibleTypes: { Node: ['Session'] },
      typePolicies: {
        // Everything but paging; `offset` is here because numbered pages are not joined.
        Query: { fields: { sessions: relayStylePagination(['filter', 'orderBy', 'stats', 'offset']) } },
        Session: { fields: feedback },
        SessionStats: { fields: feedback },
      },
    }),
  });

export const polled = (client, query, variables, pollInterval = 15_000) =>
  client.watchQuery({ query, variables, pollInterval });
