// Hive Gateway. As its documentation has it for speed: `jit`, response caching (per credential, as ours), the HTTP
// cache for what LangSmith answered (which needs a Cache-Control header: the fixed LangSmith sends one under
// /cacheable, and its key knows no credential), a cache in memory, one worker; logging at errors, GraphiQL and the landing page off.
import InMemoryLRUCache from '@graphql-mesh/cache-inmemory-lru';
import { defineConfig, useHttpCache } from '@graphql-hive/gateway';

const { CACHE, LANGSMITH, PORT } = process.env;
const API_KEY = 'x-api-key';
const location = CACHE === 'none' ? LANGSMITH : LANGSMITH.replace('/api/', '/cacheable/api/');

export const gatewayConfig = defineConfig({
  supergraph: '.built/supergraph.graphql',
  transportEntries: { langsmith: { location } },
  host: '127.0.0.1',
  port: Number(PORT),
  fork: 1,
  jit: true,
  logging: 'error',
  graphiql: false,
  landingPage: false,
  disableWebsockets: true,
  cache: new InMemoryLRUCache({ max: 1000 }),
  propagateHeaders: { fromClientToSubgraphs: ({ request }) => ({ [API_KEY]: request.headers.get(API_KEY) }) },
  plugins: (context) => (CACHE === 'none' ? [] : [useHttpCache(context)]),
  responseCaching:
    CACHE === 'responses' ? { session: (request) => request.headers.get(API_KEY), ttl: 15_000 } : undefined,
});
