/**
 * Figures: exact money, differences of windows, and how all of them are written.
 *
 * A figure that is not known is null, and "–" on the page. Counts are numbers: JSON.parse rounds those beyond 2^53,
 * by less than is shown here. Money comes as decimal text and is reckoned in whole attodollars (10⁻¹⁸), as BigInt.
 */

export const UNKNOWN = "–";
const PLACES = 18;
const DOLLAR = 10n ** BigInt(PLACES);

const [coarse, fine] = [2, 4].map((digits) => {
  const options = { style: "currency", currency: "USD", minimumFractionDigits: digits, maximumFractionDigits: digits };
  return new Intl.NumberFormat("en", options);
});
const whole = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
const percent = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const [roundly, finely] = [0, 1].map((digits) => {
  const options = { signDisplay: "exceptZero", minimumFractionDigits: digits, maximumFractionDigits: digits };
  return new Intl.NumberFormat("en", options);
});
const signed = (format, value) => format.format(value).replace("-", "−").replace(/^0.*/, "±0");
const ago = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "short" });
const moment = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });
const timeOfDay = new Intl.DateTimeFormat("en", { timeStyle: "medium", hourCycle: "h23" });

/** @param {?string} text "0.0000001" @returns {?bigint} */
export function money(text) {
  if (text === null) return null;
  const [units, fraction = ""] = text.split(".");
  return BigInt(units + fraction.padEnd(PLACES, "0").slice(0, PLACES));
}

/** The longer window without the shorter: 0 at least, for the two may have been asked for at different moments. */
export function minus(longer, shorter) {
  if (longer === null || shorter === null) return null;
  return longer > shorter ? longer - shorter : longer - longer;
}

/** Of those that are known; null if none is. */
export function sum(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((total, value) => total + value) : null;
}

export const ratio = (part, all) => (part === null || !all ? null : part / all);

const written = (write) => (value) => (value === null ? UNKNOWN : write(value));

export const asCount = written((value) => whole.format(value));
export const asShortCount = written((value) => (value < 1e6 ? whole : compact).format(value));
export const asShare = written((value) => percent.format(value));
export const asSeconds = written((value) => {
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  return value < 100 ? `${value.toFixed(2)} s` : `${whole.format(Math.round(value))} s`;
});
export const asMoney = written((value) => {
  const size = value < 0n ? -value : value;
  if (size && size < DOLLAR / 10000n) return "<$0.0001";
  const digits = String(size).padStart(PLACES + 1, "0");
  const text = `${value < 0n ? "-" : ""}${digits.slice(0, -PLACES)}.${digits.slice(-PLACES)}`;
  // A decimal text is formatted exactly, where a number would be rounded twice.
  return (size < DOLLAR ? fine : coarse).format(text);
});
export const asMoment = (instant) => moment.format(instant);
export const asTimeOfDay = (instant) => timeOfDay.format(instant);

/** @param {?string} instant RFC 3339 */
export const asAge = written((instant) => {
  const seconds = Math.max(0, (Date.now() - Date.parse(instant)) / 1000);
  if (seconds < 60) return "just now";
  const [size, unit] = seconds < 3600 ? [60, "minute"] : seconds < 86400 ? [3600, "hour"] : [86400, "day"];
  return ago.format(-Math.floor(seconds / size), unit);
});

/** How much more than before, in per cent. */
export function change(now, before) {
  if (now === null || before === null) return UNKNOWN;
  if (!before) return now ? "new" : "±0%";
  const percents = (Number(now - before) / Number(before)) * 100;
  if (percents > 999) return `×${whole.format(Math.round(percents / 100) + 1)}`;
  return `${signed(Math.abs(percents) < 10 ? finely : roundly, percents)}%`;
}

/** How many percentage points more than before. */
export function changeOfShare(now, before) {
  if (now === null || before === null) return UNKNOWN;
  return `${signed(finely, (now - before) * 100)} pts`;
}

/** How many more than before. */
export const changeOfNumber = (now, before) => signed(roundly, now - before);
