// What a new visitor finds: queries of the README. Ids that exist are there in the demo only.

import { defaultHeaders, isDemo } from "./page.js";

const variables = (values) => JSON.stringify(values, null, 2);

const NEWEST = `# The newest projects: latency and cost.
# Select other fields, run it again, and
# see in "Upstream" what that asks for.
query NewestProjects {
  sessions(
    first: 10
    filter: { referenceFree: true }
  ) {
    nodes {
      name
      runCount
      latencyP50
      latencyP99
      totalCost
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
`;

const WINDOWS = `# Two windows side by side: each is one
# more request, for all rows, by id.
query TwoWindows {
  sessions(
    first: 5
    orderBy: { field: LATENCY_P99 }
    stats: { last: "P7D" }
  ) {
    nodes {
      name
      latencyP99
      day: stats(last: "PT24H") {
        latencyP99
        errorRate
      }
      hour: stats(last: "PT1H") {
        latencyP99
        errorRate
      }
    }
  }
}
`;

const EXPERIMENTS = `# The experiments of a dataset, and their
# feedback. Put its id into the variables
# below: it is in the address of its page
# in LangSmith, …/datasets/<id>
query Experiments($dataset: UUID!) {
  sessions(
    first: 10
    filter: {
      referenceDatasets: [$dataset]
    }
  ) {
    nodes {
      name
      testRunNumber
      feedbackStats {
        key
        n
        avg
        values
      }
    }
  }
}
`;

const SESSION = `# One session, whatever it holds. Put its
# id into the variables below: it is "id"
# of any node in another tab, and in the
# address of its page in LangSmith,
# …/projects/p/<id>
query OneSession($id: ID!) {
  session(id: $id) {
    name
    startTime
    extra
    totalTokens
  }
}
`;

export const tabs = [
  { query: NEWEST, variables: "" },
  { query: WINDOWS, variables: "" },
  { query: EXPERIMENTS, variables: variables({ dataset: isDemo ? "f5642484-01ef-46cf-abb1-f66b0ade89b7" : "" }) },
  { query: SESSION, variables: variables({ id: isDemo ? "002c552a-ed42-4330-8b0c-ef3638120ad1" : "" }) },
].map((tab) => ({ ...tab, headers: defaultHeaders ?? null }));
