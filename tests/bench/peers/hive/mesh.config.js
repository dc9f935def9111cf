// The supergraph has one subgraph: LangSmith's OpenAPI description. gateway.config.js sets the address of LangSmith.
import { defineConfig } from '@graphql-mesh/compose-cli';
import { loadOpenAPISubgraph } from '@omnigraph/openapi';

export const composeConfig = defineConfig({
  output: '.built/supergraph.graphql',
  subgraphs: [
    {
      sourceHandler: loadOpenAPISubgraph('langsmith', {
        source: './openapi.json',
        endpoint: 'http://langsmith.invalid',
        ignoreErrorResponses: true,
      }),
    },
  ],
});
