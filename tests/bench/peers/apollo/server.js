// Apollo Server on Fastify: its documentation offers Fastify next to Express, and Fastify is faster. Configured for
// speed as its documentation recommends: one bounded cache for all parts, RESTDataSource with its HTTP cache (with an
// explicit time to live, because LangSmith sends no Cache-Control), and the response cache plugin with cache hints.
// Apollo Server has no compiled execution.
//
// https://www.apollographql.com/docs/apollo-server/performance/caching
// https://www.apollographql.com/docs/apollo-server/api/plugin/cache-control
import { ApolloServer } from '@apollo/server';
import { RESTDataSource } from '@apollo/datasource-rest';
import { ApolloServerPluginCacheControl } from '@apollo/server/plugin/cacheControl';
import { ApolloServerPluginLandingPageDisabled } from '@apollo/server/plugin/disabled';
import responseCache from '@apollo/server-plugin-response-cache';
import fastifyApollo, { fastifyApolloDrainPlugin } from '@as-integrations/fastify';
import fastify from 'fastify';
import { InMemoryLRUCache } from '@apollo/utils.keyvaluecache';
import { API_KEY, CACHE, LANGSMITH, PORT, TTL, connectionOf, pathOf, typeDefs } from '../langsmith.mjs';

class Sessions extends RESTDataSource {
  baseURL = `${LANGSMITH}/`;

  constructor(key, options) {
    super(options);
    this.key = key;
  }

  willSendRequest(_path, request) {
    request.headers[API_KEY] = this.key;
  }

  // Cache pages per credential, as the gateway does.
  cacheKeyFor(url) {
    return `${this.key} ${url}`;
  }

  cacheOptionsFor() {
    return { ttl: CACHE === 'none' ? 0 : TTL };
  }

  async page(first, offset) {
    return connectionOf(await this.get(pathOf(first, offset).slice(1)));
  }
}

const cache = new InMemoryLRUCache({ maxSize: 256 * 1024 * 1024 });
const app = fastify({ logger: false });
const server = new ApolloServer({
  typeDefs,
  resolvers: {
    Query: { sessions: (_, { first, offset }, { sessions }) => sessions.page(first, offset) },
  },
  cache,
  introspection: true,
  plugins: [
    fastifyApolloDrainPlugin(app),
    ApolloServerPluginLandingPageDisabled(),
    CACHE === 'responses' && ApolloServerPluginCacheControl({ defaultMaxAge: TTL, calculateHttpHeaders: false }),
    // Cache responses per credential, as the gateway does.
    CACHE === 'responses' &&
      responseCache({ sessionId: async ({ request }) => request.http?.headers.get(API_KEY) ?? null }),
  ].filter(Boolean),
});
await server.start();
await app.register(fastifyApollo(server), {
  context: async ({ headers }) => ({ sessions: new Sessions(headers[API_KEY], { cache }) }),
});
await app.listen({ port: PORT, host: '127.0.0.1' });
