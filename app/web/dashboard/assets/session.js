/**
 * Converts sessions of the GraphQL answer for the page: figures of the window, and of the previous window.
 *
 * A window of LangSmith has a start but no end. So the figures of the previous window are the difference between a
 * window of twice the length and this one. That is exact for sums, and for the error rate by way of the number of failed
 * runs. Percentiles cannot be subtracted.
 *
 * @typedef {{runs: ?number, failed: ?number, errors: ?number, tokens: ?number, cost: ?bigint}} Figures
 *   `failed`: number of failed runs; `errors`: their share of all runs, from 0 to 1; `cost`: see figures.js.
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
    before: node.twice ? subtract(figuresOf(node.twice), now) : null,
  };
}

/**
 * Totals of all sessions. `active`: number of sessions with runs.
 *
 * @param {Session[]} sessions @returns {Figures & {active: number, before: ?Figures}}
 */
export function totalOf(sessions) {
  const befores = sessions.map((session) => session.before);
  return { ...sumOf(sessions), before: sessions.length && befores.every(Boolean) ? sumOf(befores) : null };
}

function figuresOf(stats) {
  const { runCount: runs, errorRate: errors, totalTokens: tokens } = stats;
  const failed = runs === 0 ? 0 : runs === null || errors === null ? null : Math.round(runs * errors);
  return { runs, errors, failed, tokens, cost: money(stats.totalCost) };
}

function subtract(longer, shorter) {
  const [runs, failed] = [minus(longer.runs, shorter.runs), minus(longer.failed, shorter.failed)];
  return {
    runs,
    failed,
    errors: ratio(failed, runs),
    tokens: minus(longer.tokens, shorter.tokens),
    cost: minus(longer.cost, shorter.cost),
  };
}

function sumOf(figures) {
  const total = (name) => sum(figures.map((each) => each[name]));
  const [runs, failed] = [total("runs"), total("failed")];
  const active = figures.filter((each) => each.runs > 0).length;
  return { active, runs, failed, errors: ratio(failed, runs), tokens: total("tokens"), cost: total("cost") };
}
