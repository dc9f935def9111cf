import * as operations from './operations.mjs';

/** Lets a client do each of these, and prints what came of it as JSON, with what it complained of. */
export async function report({ paged, numbered, polling, kept, refused }) {
  const complaints = [];
  console.warn = console.error = (...words) => complaints.push(words.join(' '));
  const said = { paged: await paged(), numbered: await numbered(), polling: await polling(), kept: [], refused: {} };
  for (const each of ['selections', 'windows', 'orderedByWindow', 'feedback']) {
    said.kept.push(...(await kept(operations[each])));
  }
  for (const [name, each] of Object.entries(operations.refused)) said.refused[name] = await refused(each);
  console.log(JSON.stringify({ ...said, complaints }));
}
