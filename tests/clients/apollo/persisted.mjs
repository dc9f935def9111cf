// What Apollo Client's link for persisted queries makes of the gateway whose URL is given.
import { createHash } from 'node:crypto';

import { ApolloClient, HttpLink, InMemoryCache, gql } from '@apollo/client';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';

import { polled } from '../operations.mjs';

const seen = [];
const witnessed = async (url, init) => {
  const response = await fetch(url, init);
  const { searchParams } = new URL(url);
  const has = init.body ? 'query' in JSON.parse(init.body) : searchParams.has('query');
  seen.push({ method: init.method, has, status: response.status, type: response.headers.get('content-type') });
  return response;
};
const sha256 = (text) => createHash('sha256').update(text).digest('hex');
const answers = [];
for (const useGETForHashedQueries of [true, true, false]) {
  const http = new HttpLink({ uri: process.argv[2], headers: { 'x-api-key': 'demo' }, fetch: witnessed });
  const client = new ApolloClient({
    link: new PersistedQueryLink({ sha256, useGETForHashedQueries }).concat(http),
    cache: new InMemoryCache(),
  });
  const { data } = await client.query({ query: gql(polled) });
  answers.push(data);
}
console.log(JSON.stringify({ seen, answers, query: polled }));
