// GraphQL Yoga, configured for speed as its documentation recommends: documents are parsed and validated once (built
// in), graphql-jit compiles their execution (@envelop/graphql-jit, with the fast compiler options of its README), and
// @graphql-yoga/plugin-response-cache caches responses. An lru-cache holds pages as objects, and concurrent misses of a
// page share one request. Logging and GraphiQL are off. Requests to LangSmith use undici, Node's fastest client.
//
// https://the-guild.dev/graphql/yoga-server/docs/features/response-caching
// https://the-guild.dev/graphql/envelop/plugins/use-graphql-jit
import { createServer } from 'node:http';
import { useGraphQlJit } from '@envelop/graphql-jit';
import { useResponseCache } from '@graphql-yoga/plugin-response-cache';
import { createSchema, createYoga } from 'graphql-yoga';
import { LRUCache } from 'lru-cache';
import { Pool } from 'undici';
import { API_KEY, CACHE, LANGSMITH, PORT, TTL, connectionOf, pathOf, typeDefs } from '../langsmith.mjs';

const { origin, pathname } = new URL(LANGSMITH);
const pool = new Pool(origin, { connections: 32 });

async function fetchPage(path, key) {
  const { body } = await pool.request({ path: pathname + path, method: 'GET', headers: { [API_KEY]: key } });
  return connectionOf(await body.json());
}

const pages = new LRUCache({
  max: 1000,
  ttl: TTL * 1000,
  fetchMethod: (_, __, { context }) => fetchPage(context.path, context.key),
});

function page(path, key) {
  if (CACHE === 'none') return fetchPage(path, key);
  const name = `${key} ${path}`;
  return pages.get(name) ?? pages.fetch(name, { context: { path, key } });
}

const yoga = createYoga({
  schema: createSchema({
    typeDefs,
    resolvers: {
      Query: {
        sessions: (_, { first, offset }, { request }) => page(pathOf(first, offset), request.headers.get(API_KEY)),
      },
    },
  }),
  logging: false,
  graphiql: false,
  landingPage: false,
  plugins: [
    useGraphQlJit({ disableLeafSerialization: true, disablingCapturingStackErrors: true }),
    // Cache responses per credential, as the gateway does.
    CACHE === 'responses' &&
      useResponseCache({ session: (request) => request.headers.get(API_KEY), ttl: TTL * 1000 }),
  ],
});

createServer(yoga).listen(PORT, '127.0.0.1');
