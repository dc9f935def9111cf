// Shared by the Node peers: the schema, the address of LangSmith, and the conversion of LangSmith's rows into objects
// for default resolvers, which happens once when a page arrives. Times, costs and UUIDs stay strings.

export const { LANGSMITH, LANGSMITH_PARAMS, CACHE } = process.env;
export const API_KEY = 'x-api-key'; // the client's key: forwarded to LangSmith, and part of cache keys
export const PORT = Number(process.env.PORT);
export const TTL = 15; // seconds, as in the gateway

export const typeDefs = /* GraphQL */ `
  scalar BigInt
  scalar Decimal
  scalar DateTime
  scalar UUID
  scalar JSON
  type FeedbackStat { key: String! n: BigInt avg: Float }
  type Session {
    id: ID!
    tenantId: UUID!
    startTime: DateTime
    endTime: DateTime
    extra: JSON
    name: String
    description: String
    defaultDatasetId: UUID
    referenceDatasetId: UUID
    traceTier: String
    lastRunStartTimeLive: DateTime
    testRunNumber: BigInt
    runCount: BigInt
    latencyP50: Float
    latencyP99: Float
    firstTokenP50: Float
    firstTokenP99: Float
    totalTokens: BigInt
    promptTokens: BigInt
    completionTokens: BigInt
    totalCost: Decimal
    promptCost: Decimal
    completionCost: Decimal
    lastRunStartTime: DateTime
    feedbackStats: [FeedbackStat!]
    sessionFeedbackStats: [FeedbackStat!]
    runFacets: [JSON!]
    errorRate: Float
    streamingRate: Float
  }
  type SessionConnection { nodes: [Session!]! }
  type Query { sessions(first: Int! = 20, offset: Int): SessionConnection }
`;

export const pathOf = (first, offset) => `/sessions?${LANGSMITH_PARAMS}&limit=${first}&offset=${offset ?? 0}`;

export const connectionOf = (rows) => ({ nodes: rows.map(sessionOf) });

const sessionOf = (row) => ({
  id: row.id,
  tenantId: row.tenant_id,
  startTime: row.start_time,
  endTime: row.end_time,
  extra: row.extra,
  name: row.name,
  description: row.description,
  defaultDatasetId: row.default_dataset_id,
  referenceDatasetId: row.reference_dataset_id,
  traceTier: row.trace_tier,
  lastRunStartTimeLive: row.last_run_start_time_live,
  testRunNumber: row.test_run_number,
  runCount: row.run_count,
  latencyP50: row.latency_p50,
  latencyP99: row.latency_p99,
  firstTokenP50: row.first_token_p50,
  firstTokenP99: row.first_token_p99,
  totalTokens: row.total_tokens,
  promptTokens: row.prompt_tokens,
  completionTokens: row.completion_tokens,
  totalCost: row.total_cost,
  promptCost: row.prompt_cost,
  completionCost: row.completion_cost,
  lastRunStartTime: row.last_run_start_time,
  feedbackStats: feedbackOf(row.feedback_stats),
  sessionFeedbackStats: feedbackOf(row.session_feedback_stats),
  runFacets: row.run_facets,
  errorRate: row.error_rate,
  streamingRate: row.streaming_rate,
});

const feedbackOf = (stats) => stats && Object.entries(stats).map(([key, { n, avg }]) => ({ key, n, avg }));
