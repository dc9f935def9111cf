import graphql from '@graphql-eslint/eslint-plugin';

const rulesOf = (name) => graphql.configs[`flat/${name}`].rules;

export default [
  {
    files: ['**/*.graphql'],
    languageOptions: { parser: graphql.parser, parserOptions: { graphQLConfig: { schema: 'schema.graphql' } } },
    plugins: { '@graphql-eslint': graphql },
    rules: {
      ...rulesOf('schema-recommended'),
      ...rulesOf('schema-relay'),
      // Relay's own types have no id. Feedback and progress belong to their session.
      '@graphql-eslint/strict-id-in-types': [
        'error',
        { exceptions: { types: ['PageInfo', 'FeedbackStat', 'ExperimentProgress', 'EvaluatorProgress'], suffixes: ['Connection', 'Edge'] } },
      ],
      // In its strict form, the rule forbids every list that is not a list of edges.
      '@graphql-eslint/relay-edge-types': ['error', { listTypeCanWrapOnlyEdgeType: false }],
    },
  },
];
