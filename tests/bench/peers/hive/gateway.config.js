// Hive Gateway, configured for speed as its documentation recommends: `jit`, response caching (per credential, as the
// gateway does), an in-memory cache and the HTTP cache for LangSmith's answers, one worker, a log of errors only, no
// GraphiQL and no landing page. The HTTP cache needs a Cache-Control header, which the fixed LangSmith sends under
// /cacheable. The key of that cache does not contain the credential.
//
// https://the-guild.dev/graphql/hive/docs/gateway/other-features/performance
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
