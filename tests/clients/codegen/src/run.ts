// Runs a generated operation against the gateway with the given URL, in code that compiles only if its types are right.
import { execute } from './execute';
import { graphql } from './gql';
import type { ExperimentsQuery, ExperimentsQueryVariables } from './gql/graphql';

declare const process: { argv: string[] };

const experiments = graphql(`
  query Experiments($first: Int! = 2, $filter: SessionFilter, $last: Duration) {
    sessions(first: $first, filter: $filter, orderBy: { field: NAME, direction: ASC }) {
      nodes {
        id
        name
        tenantId
        startTime
        traceTier
        totalTokens
        totalCost
        errorRate
        extra
        runFacets
        stats(last: $last) { id runCount }
        feedbackStats { key n avg values }
      }
    }
  }
`);

type Row = NonNullable<ExperimentsQuery['sessions']>['nodes'][number];
type Is<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : never;
const typeChecks: [
  Is<Row['id'], string>,
  Is<Row['tenantId'], string>,
  Is<Row['startTime'], string | null>,
  Is<Row['totalTokens'], number | null>,
  Is<Row['totalCost'], string | null>,
  Is<Row['errorRate'], number | null>,
  Is<Row['extra'], unknown>,
  Is<NonNullable<Row['feedbackStats']>[number]['key'], string>,
] = [true, true, true, true, true, true, true, true];

const variables: ExperimentsQueryVariables = {
  first: 2,
  filter: { referenceFree: false },
  last: 'P7D',
};
// @ts-expect-error a filter has no field of this name
const unknownField: ExperimentsQueryVariables = { filter: { called: 'x' } };

async function main() {
  const gateway = { url: process.argv[2] as string, headers: { 'x-api-key': 'demo' } };
  const answer = await execute(experiments, variables, gateway);
  const refused = await execute(experiments, { ...variables, last: 'a while' }, gateway);
  console.log(
    JSON.stringify({
      typeChecks,
      query: experiments.toString(),
      variables,
      answer,
      tiers: answer.data?.sessions?.nodes.map(({ traceTier }) => traceTier satisfies 'LONGLIVED' | 'SHORTLIVED' | null),
      refused: { codes: refused.errors?.map(({ extensions }) => extensions.code), unknownField },
    }),
  );
}

void main();
