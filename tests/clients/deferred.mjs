// Operations with @defer, and the scenarios in which each client runs them.
import { until } from './recording.mjs';

const list = (fields, fragments = '', variables = '') =>
  `query Deferred${variables} { sessions(first: 6) { edges { node { id name ${fields} } } } } ${fragments}`;

const allOperations = {
  twoWindows: list(`
    ... @defer(label: "day") { runCount day: stats(last: "PT24H") { id runCount errorRate } }
    ... @defer(label: "week") { runCount week: stats(last: "P7D") { id totalCost feedbackStats { key n avg } } }`),
  named: list(
    '...Month @defer(label: "month") ...Fortnight @defer(label: "fortnight")',
    `fragment Month on Session { month: stats(last: "P30D") { id runCount } }
     fragment Fortnight on Session { fortnight: stats(last: "P14D") { id runCount } }`,
  ),
  nested: list(`
    ... @defer(label: "outer") {
      two: stats(last: "PT2H") { id runCount }
      ... @defer(label: "inner") { six: stats(last: "PT6H") { id runCount } }
    }`),
  aboveTheList: `query Deferred { sessions(first: 6) {
    edges { node { id name } }
    ... @defer(label: "above") { edges { node { id eight: stats(last: "PT8H") { id runCount latencyP50 } } } }
  } }`,
  failing: list(`
    ... @defer(label: "good") { four: stats(last: "PT4H") { id runCount } }
    ... @defer(label: "bad") { year: stats(last: "P365D") { id runCount } }`),
  broken: list('... @defer(label: "three") { three: stats(last: "PT3H") { id runCount } }'),
  polled: list(
    '... @defer(if: $defer, label: "five") { five: stats(last: "PT5H") { id runCount } }', '', '($defer: Boolean! = true)',
  ),
  paged: `query Deferred($after: String) { sessions(first: 3, after: $after) {
    edges { cursor node { id name ... @defer(label: "nine") { nine: stats(last: "PT9H") { id runCount } } } }
    pageInfo { hasNextPage endCursor }
  } }`,
};
const bothPages = (query) => query.replace('first: 3, after: $after', 'first: 6');

const [, , , controls, reference] = process.argv;
export const control = (action) => fetch(`${controls}/${action}`, { method: 'POST' });

/** The answer of another gateway to the operation without @defer: with the fragments that have it, or without them. */
async function plain(operation, withFragments) {
  const query = bothPages(operation).replace(/@defer(\([^)]*\))?/g, `@include(if: ${withFragments})`).replace(/\(\$.*?\)/, '');
  const response = await fetch(reference, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': 'demo' },
    body: JSON.stringify({ query }),
  });
  return response.json();
}

/**
 * Runs the scenarios, and returns their results.
 *
 * `watch(query, show)` shows the results of an operation with an empty cache. It returns functions: `poll`, `more` (adds
 * a page), `stop`, and `cached`, which reads what is cached. A result has `data`, `errors` (of the gateway), `failure`
 * (of the connection), and `isComplete`. `defersPolls`: whether polls are deferred too. `without`: operations that the
 * client cannot show in parts. `operations`: those that it runs.
 */
export async function runScenarios(watch, { defersPolls = false, without = [], operations = allOperations } = {}) {
  let shown;
  const giveUp = () => (console.error('Last results:', JSON.stringify(shown)), process.exit(1));
  const watchdog = setTimeout(giveUp, 60_000);

  /** Holds the statistics back until the rows are shown. */
  const run = async (name, scenario) => {
    const query = operations[name];
    const states = (shown = []);
    await control('hold');
    const watched = watch(query, (state) => states.push(structuredClone(state)));
    await until(() => states.at(-1)?.data);
    const result = { rows: states.at(-1), ...(await scenario(states, watched)) };
    await watched.stop();
    const [plainRows, plainWhole] = [await plain(query, false), await plain(query, true)];
    return { ...result, plainRows, plainWhole };
  };
  const complete = async (states) => {
    await control('release');
    await until(() => states.at(-1).isComplete);
    return { whole: states.at(-1) };
  };
  const poll = async (states, { poll }) => {
    const before = (await complete(states)).whole;
    await control('pass-time');
    await control('hold');
    const start = states.length;
    const firstId = () => states.at(-1).data?.sessions.edges[0].node.id;
    const oldId = firstId();
    poll();
    await (defersPolls ? until(() => firstId() !== oldId) : control('wait-for-held'));
    const during = states.slice(start);
    await control('release');
    await until(() => firstId() !== oldId && states.at(-1).isComplete);
    return { before, during, whole: states.at(-1) };
  };
  const readTwoPages = async (states, { more }) => {
    const { whole } = await complete(states);
    await control('hold');
    more(whole.data.sessions.pageInfo.endCursor);
    const edges = () => states.at(-1).data.sessions.edges;
    await until(() => edges().length > 3);
    const during = states.at(-1);
    await control('release');
    await until(() => edges().at(-1).node.nine);
    return { during, whole: states.at(-1) };
  };
  const breakConnections = async (states, { cached }) => {
    await control('break-connections');
    await until(() => states.at(-1).failure || states.at(-1).isComplete);
    const result = { states: [...states], kept: await cached() };
    await control('release');
    return result;
  };

  await control('pass-time'); // The caches have what other scenarios fetched.
  const results = {};
  for (const name of Object.keys(operations)) {
    const scenario = { broken: breakConnections, polled: poll, paged: readTwoPages }[name] ?? complete;
    if (!without.includes(name)) results[name] = await run(name, scenario);
  }
  clearTimeout(watchdog);
  return results;
}
