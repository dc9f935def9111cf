// Mercurius, configured for speed as its documentation recommends: `jit: 1` compiles an operation when it arrives the
// second time, and mercurius-cache caches the result of the resolver under a custom key ("to improve performance", says
// its README). It has no response cache: compiled execution answers repeated requests from the cached page.
//
// https://github.com/mercurius-js/mercurius/blob/master/docs/api/options.md
// https://github.com/mercurius-js/cache#readme
import fastify from 'fastify';
import mercurius from 'mercurius';
import cache from 'mercurius-cache';
import { Pool } from 'undici';
import { API_KEY, CACHE, LANGSMITH, PORT, TTL, connectionOf, pathOf, typeDefs } from '../langsmith.mjs';

const { origin, pathname } = new URL(LANGSMITH);
const pool = new Pool(origin, { connections: 32 });

async function fetchPage(path, key) {
  const { body } = await pool.request({ path: pathname + path, method: 'GET', headers: { [API_KEY]: key } });
  return connectionOf(await body.json());
}

const keyOf = (context) => context.reply.request.headers[API_KEY];

const app = fastify({ logger: false });
app.register(mercurius, {
  schema: typeDefs,
  resolvers: {
    Query: { sessions: (_, { first, offset }, context) => fetchPage(pathOf(first, offset), keyOf(context)) },
  },
  jit: 1,
  compilerOptions: { disableLeafSerialization: true, disablingCapturingStackErrors: true },
});
if (CACHE !== 'none') {
  app.register(cache, {
    ttl: TTL,
    // Cache pages per credential, as the gateway does.
    policy: { Query: { sessions: { key: ({ arg, ctx }) => `${keyOf(ctx)} ${arg.first} ${arg.offset ?? 0}` } } },
  });
}
await app.listen({ port: PORT, host: '127.0.0.1' });
