import { graphql } from 'relay-runtime';

// A table that loads more rows. `count` is an `Int`, because Relay does not allow a default value for an `Int!`.
export const list = graphql`
  fragment sessionsList on Query
  @refetchable(queryName: "sessionsMore")
  @argumentDefinitions(count: { type: "Int", defaultValue: 3 }, cursor: { type: "String" }) {
    sessions(first: $count, after: $cursor, orderBy: { field: NAME }) @connection(key: "sessionsList_sessions") {
      edges { node { id ...sessionsRow } }
    }
  }
`;

// A row that can be refetched by itself, through `node(id:)`.
export const row = graphql`
  fragment sessionsRow on Session @refetchable(queryName: "sessionsRowAgain") {
    name
    totalTokens
    totalCost
    day: stats(last: "PT24H") { id runCount }
    month: stats(last: "P30D") { id runCount }
    feedbackStats { key n avg values }
  }
`;

export const query = graphql`
  query sessionsQuery { ...sessionsList }
`;

export const other = graphql`
  query sessionsOtherQuery($id: ID!) {
    session(id: $id) { extra startTime traceTier week: stats(last: "P7D") { id runCount } }
  }
`;

export const one = graphql`
  query sessionsOneQuery($id: ID!) {
    session(id: $id) @catch(to: RESULT) { name }
  }
`;

export const wrong = graphql`
  query sessionsWrongQuery($ids: [UUID!]) {
    sessions(filter: { ids: $ids }) { nodes { name } }
  }
`;
