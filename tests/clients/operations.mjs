// Operations that select different parts of the same objects. What a client caches of one must not change the others.

export const selections = [
  '{ sessions(first: 4) { edges { node { id name runCount } } } }',
  '{ sessions(first: 4) { edges { node { id latencyP50 totalCost } } } }',
];

export const windows = [
  '{ sessions(first: 4) { edges { node { id runCount day: stats(last: "PT24H") { id runCount errorRate } } } } }',
  '{ sessions(first: 4) { edges { node { id week: stats(last: "P7D") { id runCount } } } } }',
  '{ sessions(first: 4) { edges { node { id day: stats(last: "PT24H") { id latencyP99 } } } } }',
];

export const orderedByWindow = [
  `{ sessions(first: 4, orderBy: { field: LATENCY_P99 }, stats: { last: "PT24H" }) {
    edges { node { id stats(last: "PT24H") { id latencyP99 } } } } }`,
  `{ sessions(first: 4, orderBy: { field: LATENCY_P99 }, stats: { last: "P7D" }) {
    edges { node { id stats(last: "P7D") { id latencyP99 } } } } }`,
];

const experiments = 'sessions(first: 3, filter: { referenceDatasets: ["f5642484-01ef-46cf-abb1-f66b0ade89b7"] })';
export const feedback = [
  `{ ${experiments} { edges { node { id feedbackStats { key n values } } } } }`,
  `{ ${experiments} { edges { node { id feedbackStats { key avg } correct: feedbackStats(keys: ["correctness"]) { key n } } } } }`,
];

export const pages = `query Pages($after: String) {
  sessions(first: 3, after: $after, orderBy: { field: NAME }) {
    edges { cursor node { id name } }
    pageInfo { hasNextPage endCursor }
  }
}`;

export const numbered = 'query Numbered($offset: Int) { sessions(first: 2, offset: $offset) { edges { node { id } } } }';

export const polled = '{ sessions(first: 5) { nodes { id runCount latencyP99 } } }';

export const byId = 'query ById($id: ID!) { node(id: $id) { id ... on Session { name lastRunStartTimeLive } } }';

const key = { 'x-api-key': 'demo' };
const one = 'sessions(first: 1) { nodes { id name } }';
export const refused = {
  withoutKey: { headers: {}, query: `{ ${one} }` },
  unknownKey: { headers: { 'x-api-key': 'stranger' }, query: `{ ${one} }` },
  argument: { headers: key, query: `{ ${one} other: sessions(offset: -1) { nodes { id } } }` },
  validation: { headers: key, query: '{ sessions { nodes { nmae } } }' },
};
