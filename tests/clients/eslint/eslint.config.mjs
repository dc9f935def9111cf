import graphql from '@graphql-eslint/eslint-plugin';

const rulesOf = (name) => graphql.configs[`flat/${name}`].rules;

export default [
  {
    files: ['**/*.graphql'],
    languageOptions: { parser: graphql.parser, parserOptions: { graphQLConfig: { schema: 'schema.graphql' } } },
    plugins: { '@graphql-eslint': graphql },
    rules: { ...rulesOf('schema-recommended'), ...rulesOf('schema-relay') },
  },
];
