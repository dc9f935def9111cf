import { gql } from '@urql/core';
import { createClient } from './client.mjs';

const client = createClient('http://127.0.0.1:8000/graphql', { 'X-API-Key': 'demo' });
const query = gql`{ sessions(first: 3) { edges { node { id name runCount } } pageInfo { hasNextPage endCursor } } }`;
const { data, error } = await client.query(query, {}).toPromise();
console.log(error ?? JSON.stringify(data));
