import { revalidating } from './revalidating.mjs';

const poll = revalidating(fetch);
for (let times = 0; times < 2; times++) {
  const response = await poll('http://127.0.0.1:8000/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': 'demo' },
    body: JSON.stringify({ query: '{ sessions(first: 3) { nodes { id name runCount } } }' }),
  });
  console.log(JSON.stringify((await response.json()).data));
}
