import { gql } from '@apollo/client';
import { createClient } from './client.mjs';

const client = createClient('http://127.0.0.1:8000/graphql', { 'X-API-Key': 'demo' });
const { data } = await client.query({
  query: gql`{ sessions(first: 3) { edges { node { id name runCount } } pageInfo { hasNextPage endCursor } } }`,
});
console.log(JSON.stringify(data));
