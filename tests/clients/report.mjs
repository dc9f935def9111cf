import * as operations from './operations.mjs';

/** Runs the scenarios with a client, and prints their results as JSON, with the warnings of the client. */
export async function report({ page, pageByNumber, poll, readFromCache, runRefused }) {
  const warnings = [];
  console.warn = console.error = (...words) => warnings.push(words.join(' '));
  const results = { paged: await page(), numbered: await pageByNumber(), polled: await poll(), cached: [], refused: {} };
  for (const name of ['selections', 'windows', 'orderedByWindow', 'feedback']) {
    results.cached.push(...(await readFromCache(operations[name])));
  }
  for (const [name, each] of Object.entries(operations.refused)) results.refused[name] = await runRefused(each);
  console.log(JSON.stringify({ ...results, warnings }));
}
