/**
 * Converts sessions of the GraphQL answer for the page: figures of the window, and of the previous window.
 *
 * A window of LangSmith has a start but no end. So the figures of the previous window are the difference between a
 * window of twice the length and this one. That is exact for sums, and for the error rate by way of the number of failed
 * runs. Percentiles cannot be subtracted.
 *
 * @typedef {{runs: ?number, failed: ?number, errors: ?number, tokens: ?number, cost: ?bigint}} Figures
 *   `failed`: number of failed runs; `errors`: their share of all runs, from 0 to 1; `cost`: see figures.js.
 * @typedef {{state: "pending" | "known" | "failed", figures: ?Figures}} Part
 *   The figures of a window. Pending figures follow, and are null. Failed ones are null, or those of an earlier answer.
 * @typedef {{id: string, name: string, isExperiment: boolean, now: Part, before: ?Part}} Session
 *   `now` also has the figures `p50`, `p99` and `last`, the time of the last run. `before` is null if the answer does
 *   not compare windows.
 */
import { minus, money, ratio, sum } from "./figures.js";

export const PENDING = { state: "pending", figures: null };
export const KNOWN = { state: "known", figures: null };
const FAILED = { state: "failed", figures: null };
const known = (figures) => ({ ...KNOWN, figures });

/**
 * @param {object} node  as much as has come of it
 * @param {{isComplete: boolean, isCompared: boolean, failedWindows: Set<"now" | "twice">}} answer
 * @returns {Session}
 */
export function sessionOf(node, { isComplete, isCompared, failedWindows }) {
  const missing = isComplete ? FAILED : PENDING;
  const partOf = (stats, window) => {
    if (stats === undefined) return missing;
    const figures = stats && figuresOf(stats);
    const isEmpty = !figures || Object.values(figures).every((value) => value === null);
    return isEmpty && failedWindows.has(window) ? FAILED : known(figures);
  };
  const now = partOf("runCount" in node ? node : undefined, "now");
  return {
    id: node.id,
    name: node.name ?? node.id,
    isExperiment: node.referenceDatasetId !== null,
    now,
    before: isCompared ? difference(partOf(node.twice, "twice"), now) : null,
  };
}

/** The session with the figures of an earlier answer, until its own come, or if they failed. @returns {Session} */
export function withEarlierFigures(session, earlier) {
  if (!earlier) return session;
  const kept = (part, earlierPart) => {
    if (!part || !earlierPart) return part;
    if (part.state === "pending") return earlierPart;
    return part.state === "failed" ? { ...part, figures: earlierPart.figures } : part;
  };
  return { ...session, now: kept(session.now, earlier.now), before: kept(session.before, earlier.before) };
}

const someParts = (condition) => ({ now, before }) => [now, before].some((part) => part && condition(part));
/** Whether figures of the session follow, of the window or of the previous one. */
export const isPending = someParts(({ state }) => state === "pending");
/** Whether figures of the session failed. */
export const isFailed = someParts(({ state }) => state === "failed");
/** Whether figures of the session failed, and those of an earlier answer are shown instead. */
export const isOutdated = someParts(isOutdatedPart);

/** @param {Part} part */
export function isOutdatedPart({ state, figures }) {
  return state === "failed" && figures !== null;
}

/** A figure of the window; null if it is not known. */
export const figureOf = (session, name) => session.now.figures?.[name] ?? null;

/**
 * Totals of all sessions. `active`: number of sessions with runs.
 *
 * @param {Session[]} sessions @returns {Figures & {active: number, before: ?Figures}}
 */
export function totalOf(sessions) {
  const [nows, befores] = ["now", "before"].map((part) => sessions.map((session) => session[part]?.figures));
  const before = befores.length && befores.every(Boolean) ? sumOf(befores) : null;
  return { ...sumOf(nows.filter(Boolean)), before };
}

function figuresOf(stats) {
  const { runCount: runs, errorRate: errors, totalTokens: tokens, latencyP50, latencyP99, lastRunStartTime } = stats;
  const failed = runs === 0 ? 0 : runs === null || errors === null ? null : Math.round(runs * errors);
  const [p50, p99, last] = [latencyP50, latencyP99, lastRunStartTime].map((value) => value ?? null);
  return { runs, errors, failed, tokens, cost: money(stats.totalCost), p50, p99, last };
}

/** The part of the previous window, from those of the window of twice the length and of this window. */
function difference(twice, now) {
  for (const part of [FAILED, PENDING]) if (twice === part || now === part) return part;
  if (!twice.figures) return twice;
  const [longer, shorter] = [twice.figures, now.figures];
  const [runs, failed] = [minus(longer.runs, shorter.runs), minus(longer.failed, shorter.failed)];
  return known({
    runs,
    failed,
    errors: ratio(failed, runs),
    tokens: minus(longer.tokens, shorter.tokens),
    cost: minus(longer.cost, shorter.cost),
  });
}

function sumOf(figures) {
  const total = (name) => sum(figures.map((each) => each[name]));
  const [runs, failed] = [total("runs"), total("failed")];
  const active = figures.filter((each) => each.runs > 0).length;
  return { active, runs, failed, errors: ratio(failed, runs), tokens: total("tokens"), cost: total("cost") };
}
