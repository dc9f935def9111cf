import { graphql } from './gql';

const query = graphql(`query Example { sessions(first: 3) { nodes { id name runCount totalCost } } }`);

fetch('http://127.0.0.1:8000/graphql', {
  method: 'POST',
  headers: { 'content-type': 'application/json', 'x-api-key': 'demo' },
  body: JSON.stringify({ query }),
})
  .then((response) => response.json())
  .then(({ data }) => console.log(JSON.stringify(data)));
