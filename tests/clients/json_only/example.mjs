import { showSessions } from './two_queries.mjs';

await showSessions('http://127.0.0.1:8000/graphql', { 'X-API-Key': 'demo' }, (data) => console.log(JSON.stringify(data)));
