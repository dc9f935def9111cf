import { fetchQuery, graphql } from 'relay-runtime';

import { createEnvironment } from './environment';
import type { exampleQuery } from './__generated__/exampleQuery.graphql';

const environment = createEnvironment('http://127.0.0.1:8000/graphql', { 'X-API-Key': 'demo' });
const query = graphql`
  query exampleQuery { sessions(first: 3) { edges { node { id name runCount } } } }
`;
fetchQuery<exampleQuery>(environment, query, {}).subscribe({ next: ({ sessions }) => console.log(sessions?.edges) });
