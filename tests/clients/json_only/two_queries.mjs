import { GraphQLClient, gql } from 'graphql-request';

const names = gql`{ sessions(first: 3) { nodes { id name } } }`;
const all = gql`{ sessions(first: 3) { nodes { id name runCount day: stats(last: "PT24H") { id errorRate } } } }`;

/** Shows the rows at once, and then the rows with their statistics. */
export async function showSessions(url, headers, show) {
  const client = new GraphQLClient(url, { headers });
  show(await client.request(names));
  show(await client.request(all));
}
