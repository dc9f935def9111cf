/**
 * Sessions as the page shows them: their figures in the window, and in the window before it.
 *
 * LangSmith's windows have a start and no end. So the window before is the difference between one of twice the length
 * and this one: right for sums, and for the error rate through the number of errors. Percentiles have no difference.
 *
 * @typedef {{runs: ?number, failed: ?number, errors: ?number, tokens: ?number, cost: ?bigint}} Figures
 *   `failed`: how many runs; `errors`: their share.
 * @typedef {Figures & {id: string, name: string, isExperiment: boolean, p50: ?number, p99: ?number, last: ?string,
 *   before: ?Figures}} Session
 */
import { minus, money, ratio, sum } from "./figures.js";

/** @returns {Session} */
export function sessionOf(node) {
  const now = figuresOf(node);
  return {
    ...now,
    id: node.id,
    name: node.name ?? node.id,
    isExperiment: node.referenceDatasetId !== null,
    p50: node.latencyP50,
    p99: node.latencyP99,
    last: node.lastRunStartTime,
    before: node.twice ? without(figuresOf(node.twice), now) : null,
  };
}

/** What all of them come to. @param {Session[]} sessions @returns {Figures & {active: number, before: ?Figures}} */
export function totalOf(sessions) {
  const befores = sessions.map((session) => session.before);
  return { ...added(sessions), before: sessions.length && befores.every(Boolean) ? added(befores) : null };
}

function figuresOf(stats) {
  const { runCount: runs, errorRate: errors, totalTokens: tokens } = stats;
  const failed = runs === 0 ? 0 : runs === null || errors === null ? null : Math.round(runs * errors);
  return { runs, errors, failed, tokens, cost: money(stats.totalCost) };
}

function without(longer, shorter) {
  const [runs, failed] = [minus(longer.runs, shorter.runs), minus(longer.failed, shorter.failed)];
  return {
    runs,
    failed,
    errors: ratio(failed, runs),
    tokens: minus(longer.tokens, shorter.tokens),
    cost: minus(longer.cost, shorter.cost),
  };
}

function added(all) {
  const of = (name) => sum(all.map((each) => each[name]));
  const [runs, failed] = [of("runs"), of("failed")];
  const active = all.filter((each) => each.runs > 0).length;
  return { active, runs, failed, errors: ratio(failed, runs), tokens: of("tokens"), cost: of("cost") };
}
