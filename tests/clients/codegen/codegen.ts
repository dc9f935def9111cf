import type { CodegenConfig } from '@graphql-codegen/cli';

const config: CodegenConfig = {
  schema: 'schema.graphql', // downloaded from the gateway's /schema.graphql
  documents: 'src/**/*.ts',
  generates: {
    'src/gql/': {
      preset: 'client',
      config: {
        documentMode: 'string',
        strictScalars: true,
        useTypeImports: true,
        scalars: {
          BigInt: 'number',
          DateTime: 'string',
          Decimal: 'string',
          Duration: 'string',
          JSON: 'unknown',
          UUID: 'string',
        },
      },
    },
  },
};

export default config;
