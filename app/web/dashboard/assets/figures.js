/**
 * Arithmetic and formats of figures.
 *
 * An unknown figure is null, and "–" on the page. A count is a number: JSON.parse rounds counts above 2^53, by less than
 * the page shows. An amount of money arrives as decimal text, and is a BigInt of whole attodollars (10⁻¹⁸ dollars), so
 * that sums and differences are exact.
 */

export const UNKNOWN = "–";
const PLACES = 18;
const DOLLAR = 10n ** BigInt(PLACES);

const [dollars, smallDollars] = [2, 4].map((digits) => {
  const options = { style: "currency", currency: "USD", minimumFractionDigits: digits, maximumFractionDigits: digits };
  return new Intl.NumberFormat("en", options);
});
const whole = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
const percent = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const [signedWhole, signedTenths] = [0, 1].map((digits) => {
  const options = { signDisplay: "exceptZero", minimumFractionDigits: digits, maximumFractionDigits: digits };
  return new Intl.NumberFormat("en", options);
});
const signed = (format, value) => format.format(value).replace("-", "−").replace(/^0.*/, "±0");
const relativeTime = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "short" });
const dateTime = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });
const timeOfDay = new Intl.DateTimeFormat("en", { timeStyle: "medium", hourCycle: "h23" });

/** Parses decimal text such as "0.0000001" into attodollars. @param {?string} text @returns {?bigint} */
export function money(text) {
  if (text === null) return null;
  const [units, fraction = ""] = text.split(".");
  return BigInt(units + fraction.padEnd(PLACES, "0").slice(0, PLACES));
}

/** The longer window minus the shorter one, at least 0: the two may have been fetched at different moments. */
export function minus(longer, shorter) {
  if (longer === null || shorter === null) return null;
  return longer > shorter ? longer - shorter : longer - longer;
}

/** Sum of the values that are not null; null if all of them are. */
export function sum(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((total, value) => total + value) : null;
}

export const ratio = (part, all) => (part === null || !all ? null : part / all);

const orUnknown = (format) => (value) => (value === null ? UNKNOWN : format(value));

export const asCount = orUnknown((value) => whole.format(value));
export const asShortCount = orUnknown((value) => (value < 1e6 ? whole : compact).format(value));
export const asShare = orUnknown((value) => percent.format(value));
export const asSeconds = orUnknown((value) => {
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  return value < 100 ? `${value.toFixed(2)} s` : `${whole.format(Math.round(value))} s`;
});
export const asMoney = orUnknown((value) => {
  const size = value < 0n ? -value : value;
  if (size && size < DOLLAR / 10000n) return "<$0.0001";
  const digits = String(size).padStart(PLACES + 1, "0");
  const text = `${value < 0n ? "-" : ""}${digits.slice(0, -PLACES)}.${digits.slice(-PLACES)}`;
  // Intl formats decimal text exactly; a number would be rounded twice.
  return (size < DOLLAR ? smallDollars : dollars).format(text);
});
export const asDateTime = (instant) => dateTime.format(instant);
export const asTimeOfDay = (instant) => timeOfDay.format(instant);

/** Formats the time since an instant in RFC 3339, such as "5 min. ago". @param {?string} instant */
export const asAge = orUnknown((instant) => {
  const seconds = Math.max(0, (Date.now() - Date.parse(instant)) / 1000);
  if (seconds < 60) return "just now";
  const [size, unit] = seconds < 3600 ? [60, "minute"] : seconds < 86400 ? [3600, "hour"] : [86400, "day"];
  return relativeTime.format(-Math.floor(seconds / size), unit);
});

/** Change in per cent, or as a factor if it is large. */
export function change(now, before) {
  if (now === null || before === null) return UNKNOWN;
  if (!before) return now ? "new" : "±0%";
  const percents = (Number(now - before) / Number(before)) * 100;
  if (percents > 999) return `×${whole.format(Math.round(percents / 100) + 1)}`;
  return `${signed(Math.abs(percents) < 10 ? signedTenths : signedWhole, percents)}%`;
}

/** Change of a share in percentage points. */
export function changeOfShare(now, before) {
  if (now === null || before === null) return UNKNOWN;
  return `${signed(signedTenths, (now - before) * 100)} pts`;
}

/** Change of a small number. */
export const changeOfNumber = (now, before) => signed(signedWhole, now - before);
