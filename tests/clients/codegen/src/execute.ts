import type { TypedDocumentString } from './gql/graphql';

export interface Answer<Data> {
  data?: Data | null;
  errors?: { message: string; extensions: { code: string } }[];
}

export async function execute<Data, Variables>(
  document: TypedDocumentString<Data, Variables>,
  variables: Variables,
  { url, headers }: { url: string; headers: Record<string, string> },
): Promise<Answer<Data>> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { accept: 'application/graphql-response+json', 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ query: document, variables }),
  });
  return (await response.json()) as Answer<Data>;
}
