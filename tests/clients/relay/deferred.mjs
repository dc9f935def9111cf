// Runs the operations of deferred.ts with Relay, in both formats, against the gateway with the given URL. The fourth
// argument is the folder with the compiled files.
import { createRequire } from 'node:module';

import { createOperationDescriptor, fetchQuery, getSelector } from 'relay-runtime';

import { runScenarios } from '../deferred.mjs';

const require = createRequire(`${process.argv[5]}/`);
const { createEnvironment } = require('./environment.js');
const artifact = (name) => require(`./__generated__/deferred${name}.graphql.js`).default;

/** The fragments of each operation. Those of a nested one are read after the fragment that they are inside of. */
const fragments = {
  TwoWindows: ['Day', 'Week'], Nested: ['Outer', 'Inner'], AboveTheList: ['Above'], Failing: ['Good', 'Bad'],
  Broken: ['Three'], Polled: ['Five'],
};
const operationOf = Object.fromEntries(Object.keys(fragments).map((name) => [artifact(`${name}Query`).params.text, name]));
const operations = Object.fromEntries(
  Object.entries(operationOf).map(([text, name]) => [name[0].toLowerCase() + name.slice(1), text]),
);

const watcher = (format) => (query, show) => {
  const fetchInFormat = (url, init) =>
    fetch(url, { ...init, headers: { ...init.headers, accept: `multipart/mixed;${format}, application/json` } });
  const environment = createEnvironment(process.argv[2], { 'x-api-key': 'demo' }, fetchInFormat);
  const name = operationOf[query];
  const node = artifact(`${name}Query`);
  const descriptor = createOperationDescriptor(node, {});
  const retained = environment.retain(descriptor);
  let errors = [];

  /** Fields of an object and of its fragments. A component that reads a fragment before it came would suspend. */
  const read = (object) => {
    let data = object;
    for (const each of fragments[name]) {
      if (!(`deferred${each}` in (data.__fragments ?? {}))) continue;
      const snapshot = environment.lookup(getSelector(artifact(each), data));
      if (!snapshot.isMissingData) data = merge(data, snapshot.data);
    }
    return data;
  };
  const merge = (one, other) => ({
    ...one, ...other, __fragments: { ...one.__fragments, ...other?.__fragments },
    ...(other?.edges && { edges: one.edges.map(({ node }, index) => ({ node: { ...node, ...other.edges[index]?.node } })) }),
  });
  const shown = (data) => {
    errors = [];
    const { edges } = read(data.sessions);
    return { sessions: { edges: edges.map(({ node }) => ({ node: clean(read(node)) })) } };
  };
  const clean = (value) => {
    if (value?.ok !== undefined) return value.ok ? clean(value.value) : (errors.push(...value.errors), null);
    if (Array.isArray(value)) return value.map(clean);
    if (!value || typeof value !== 'object') return value;
    const fields = Object.entries(value).map(([key, each]) => [key, clean(each)]);
    return Object.fromEntries(fields.filter(([key, each]) => !key.startsWith('__') && each !== undefined));
  };
  const cached = () => shown(environment.lookup(descriptor.fragment).data);
  const poll = () =>
    fetchQuery(environment, node, {}, { fetchPolicy: 'network-only' }).subscribe({
      next: () => show({ data: cached(), errors, isComplete: false }),
      complete: () => show({ data: cached(), errors, isComplete: true }),
      error: (error) => show({ failure: String(error), isComplete: true }),
    });
  poll();
  return { poll, cached, stop: () => retained.dispose() };
};
const options = { defersPolls: true, operations };
console.log(JSON.stringify({
  old: await runScenarios(watcher('deferSpec=20220824'), options),
  draft: await runScenarios(watcher('incrementalSpec=v0.2'), options),
}));
