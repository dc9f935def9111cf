// Runs Apollo Client's link for persisted queries against the gateway with the given URL.
import { createHash } from 'node:crypto';

import { ApolloClient, HttpLink, InMemoryCache, gql } from '@apollo/client';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';

import { polled } from '../operations.mjs';

const exchanges = [];
const recordingFetch = async (url, init) => {
  const response = await fetch(url, init);
  const { searchParams } = new URL(url);
  const hasQuery = init.body ? 'query' in JSON.parse(init.body) : searchParams.has('query');
  exchanges.push({ method: init.method, hasQuery, status: response.status, type: response.headers.get('content-type') });
  return response;
};
const sha256 = (text) => createHash('sha256').update(text).digest('hex');
const answers = [];
for (const useGETForHashedQueries of [true, true, false]) {
  const http = new HttpLink({ uri: process.argv[2], headers: { 'x-api-key': 'demo' }, fetch: recordingFetch });
  const client = new ApolloClient({
    link: new PersistedQueryLink({ sha256, useGETForHashedQueries }).concat(http),
    cache: new InMemoryCache(),
  });
  const { data } = await client.query({ query: gql(polled) });
  answers.push(data);
}
console.log(JSON.stringify({ exchanges, answers, query: polled }));
