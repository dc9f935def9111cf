// Mercurius. As its documentation has it for speed: `jit: 1` compiles an operation when it is first seen again, and
// mercurius-cache holds what the resolver returned, under a key of its own ("to improve performance", its README).
// It has no cache of responses; what repeats is answered from the held page by compiled execution.
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
    // Per credential, as ours.
    policy: { Query: { sessions: { key: ({ arg, ctx }) => `${keyOf(ctx)} ${arg.first} ${arg.offset ?? 0}` } } },
  });
}
await app.listen({ port: PORT, host: '127.0.0.1' });
