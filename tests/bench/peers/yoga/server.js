// GraphQL Yoga. As its documentation has it for speed: documents parsed and validated once (built in), execution
// compiled by graphql-jit (@envelop/graphql-jit; its own README says which compiler options are fast), responses
// kept by @graphql-yoga/plugin-response-cache. Pages are held, as objects, in an lru-cache; misses on the same page
// share one request. Logging and GraphiQL are off. LangSmith is asked by undici, Node's fastest client.
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
    // Per credential, as ours and as the pages.
    CACHE === 'responses' &&
      useResponseCache({ session: (request) => request.headers.get(API_KEY), ttl: TTL * 1000 }),
  ],
});

createServer(yoga).listen(PORT, '127.0.0.1');
