import { ApolloClient, HttpLink, InMemoryCache } from '@apollo/client';
import { GraphQL17Alpha9Handler } from '@apollo/client/incremental';
import { relayStylePagination } from '@apollo/client/utilities';

/** Apollo does not normalize objects without an id: merge rows of different selections by their `key` instead. */
const mergeByKey = {
  merge(cached, rows, { mergeObjects, readField }) {
    const cachedByKey = new Map((cached ?? []).map((row) => [readField('key', row), row]));
    return rows && rows.map((row) => mergeObjects(cachedByKey.get(readField('key', row)), row));
  },
};
const feedback = { feedbackStats: mergeByKey, sessionFeedbackStats: mergeByKey };

/** `incrementalHandler` reads answers in parts, to operations with `@defer`. */
export const createClient = (
  uri, headers, fetch = globalThis.fetch, incrementalHandler = new GraphQL17Alpha9Handler(),
) =>
  new ApolloClient({
    incrementalHandler,
    link: new HttpLink({ uri, headers, fetch }),
    cache: new InMemoryCache({
      possibleTypes: { Node: ['Session'] },
      typePolicies: {
        // All arguments but those of cursor paging. `offset` is a key too, because numbered pages are separate lists.
        Query: { fields: { sessions: relayStylePagination(['filter', 'orderBy', 'stats', 'offset']) } },
        Session: { fields: feedback },
        SessionStats: { fields: feedback },
      },
    }),
  });

export const poll = (client, query, variables, pollInterval = 15_000) =>
  client.watchQuery({ query, variables, pollInterval });
