import { graphql } from 'relay-runtime';

export const day = graphql`
  fragment deferredDay on Session { runCount day: stats(last: "PT24H") { id runCount errorRate } }
`;
export const week = graphql`
  fragment deferredWeek on Session { runCount week: stats(last: "P7D") { id totalCost feedbackStats { key n avg } } }
`;
export const twoWindows = graphql`
  query deferredTwoWindowsQuery {
    sessions(first: 6) { edges { node { id name ...deferredDay @defer ...deferredWeek @defer } } }
  }
`;

export const outer = graphql`
  fragment deferredOuter on Session { two: stats(last: "PT2H") { id runCount } ...deferredInner @defer }
`;
export const inner = graphql`
  fragment deferredInner on Session { six: stats(last: "PT6H") { id runCount } }
`;
export const nested = graphql`
  query deferredNestedQuery { sessions(first: 6) { edges { node { id name ...deferredOuter @defer } } } }
`;

export const above = graphql`
  fragment deferredAbove on SessionConnection { edges { node { id eight: stats(last: "PT8H") { id runCount latencyP50 } } } }
`;
export const aboveTheList = graphql`
  query deferredAboveTheListQuery { sessions(first: 6) { edges { node { id name } } ...deferredAbove @defer } }
`;

export const good = graphql`
  fragment deferredGood on Session { four: stats(last: "PT4H") { id runCount } }
`;
export const bad = graphql`
  fragment deferredBad on Session { year: stats(last: "P365D") @catch(to: RESULT) { id runCount } }
`;
export const failing = graphql`
  query deferredFailingQuery {
    sessions(first: 6) { edges { node { id name ...deferredGood @defer ...deferredBad @defer } } }
  }
`;

export const three = graphql`
  fragment deferredThree on Session { three: stats(last: "PT3H") { id runCount } }
`;
export const broken = graphql`
  query deferredBrokenQuery { sessions(first: 6) { edges { node { id name ...deferredThree @defer } } } }
`;

export const five = graphql`
  fragment deferredFive on Session { five: stats(last: "PT5H") { id runCount } }
`;
export const polled = graphql`
  query deferredPolledQuery { sessions(first: 6) { edges { node { id name ...deferredFive @defer } } } }
`;
