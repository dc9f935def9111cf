// The tabs of a new visitor, with example queries. Only the demo fills in ids, because only there the ids are known.

import { defaultHeaders, isDemo } from "./page.js";

const variables = (values) => JSON.stringify(values, null, 2);

const NEWEST = `# The newest projects: latency and cost.
# Select other fields, run it again, and
# see its requests in "Upstream".
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

const WINDOWS = `# Two windows side by side: each window
# is one more request, for all rows.
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

const DEFERRED = `# The rows come at once, the statistics
# once LangSmith has computed them. See
# the answer grow, and with it the list
# of requests in "Upstream".
query DeferredStatistics {
  sessions(first: 10) {
    nodes {
      name
      startTime
      ... @defer(label: "statistics") {
        runCount
        latencyP99
        day: stats(last: "PT24H") {
          errorRate
        }
      }
    }
  }
}
`;

const EXPERIMENTS = `# The experiments of a dataset, and their
# feedback. Enter the dataset's id in the
# variables below. The URL of its page in
# LangSmith has the id: …/datasets/<id>
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

const SESSION = `# One session. Enter its id in the
# variables below. The field "id" of a
# node has it, and so has the URL of its
# page in LangSmith: …/projects/p/<id>
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
  { query: DEFERRED, variables: "" },
  { query: EXPERIMENTS, variables: variables({ dataset: isDemo ? "f5642484-01ef-46cf-abb1-f66b0ade89b7" : "" }) },
  { query: SESSION, variables: variables({ id: isDemo ? "002c552a-ed42-4330-8b0c-ef3638120ad1" : "" }) },
].map((tab) => ({ ...tab, headers: defaultHeaders ?? null }));
