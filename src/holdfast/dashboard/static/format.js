// How numbers, times and lengths are written.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const full = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });

export const count = (number) => (Math.abs(number) < 100_000 ? whole.format(number) : short.format(number));
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
export const percent = (share) => (share === 0 ? "0 %" : share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`);
export const wholeTime = (time) => full.format(new Date(time));

/** A length in seconds, in two units at most. */
export function length(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return "0 ms";
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  for (const [size, unit, smaller, small] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
    if (seconds >= size) {
      const rest = Math.floor((seconds % size) / smaller);
      return rest ? `${Math.floor(seconds / size)} ${unit} ${rest} ${small}` : `${Math.floor(seconds / size)} ${unit}`;
    }
  }
}

/** How long it is from one time to another, or to now. */
export const between = (start, end) => ((end ? Date.parse(end) : Date.now()) - Date.parse(start)) / 1000;

/** A time of today by the clock, an older one by its day too. */
export function time(moment) {
  if (!moment) return "–";
  const date = new Date(moment);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? clock.format(date) : `${day.format(date)}, ${minute.format(date)}`;
}

/** How long ago, roughly. */
export function ago(moment) {
  if (!moment) return "–";
  const seconds = between(moment);
  return seconds < 0 ? `in ${rough(-seconds)}` : seconds < 1 ? "now" : `${rough(seconds)} ago`;
}

export function rough(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

export function bytes(number) {
  if (number === null || number === undefined) return "–";
  for (const [size, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]])
    if (number >= size) return `${(number / size).toFixed(1)} ${unit}`;
  return `${number} B`;
}

/** What stands below a chart: the clock for a day, the date for a month. */
export const tick = (seconds, span) => (span === "30d" ? day : minute).format(new Date(1000 * seconds));
export const moment = (seconds, span) =>
  span === "1h" ? minute.format(new Date(1000 * seconds)) : `${day.format(new Date(1000 * seconds))}, ${minute.format(new Date(1000 * seconds))}`;
