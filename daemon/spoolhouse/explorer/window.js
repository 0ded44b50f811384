// The time that is asked for.

const UNITS = { m: 60e3, h: 3600e3, d: 86400e3, w: 7 * 86400e3 };
const STEPS = [1e3, 5e3, 15e3, 60e3, 300e3, 900e3, 3600e3, 3 * 3600e3, 12 * 3600e3, 86400e3, 7 * 86400e3];
const BARS = 80;
const DEFAULT = "24h";

export const iso = (ms) => new Date(ms).toISOString();

function moment(text, now) {
  const [, number, unit] = /^(\d+)([mhdw])$/.exec(text) ?? [];
  return unit ? now - Number(number) * UNITS[unit] : Date.parse(text);
}

export function bounds(asked, now = Date.now()) {
  const until = asked.until ? moment(asked.until, now) : now;
  return { since: moment(asked.since ?? DEFAULT, now), until };
}

export function windowOf(asked) {
  return { since: asked.since || DEFAULT, until: asked.until || undefined };
}

// The length of a bar, in ms: whole steps that people count in.
export function interval(asked, most = BARS) {
  const { since, until } = bounds(asked);
  return STEPS.find((step) => (until - since) / step <= most) ?? STEPS.at(-1);
}
