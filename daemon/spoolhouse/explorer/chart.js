// Charts: one scale each, with its labels.

import { clock, count, draw, duration, h, short, shortDay } from "./dom.js";

const WIDE = 1000;
const HIGH = 100;

// The next of 1, 2, 4, 10, 20, 40 …: a scale whose half can be read, too.
export function roundUp(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 4, 10].find((step) => step * power >= number * (1 - 1e-9)) * power;
}

const axis = (name, texts) => h("div", { class: `axis ${name}` }, texts.map((text) => h("span", {}, text)));

function frame(plot, yTexts, xTexts, { isEach = false } = {}) {
  return h("div", { class: "plot" }, axis("y", yTexts), plot, axis(isEach ? "x each" : "x", xTexts));
}

function timeLabel(ms, every) {
  return every >= 12 * 3600e3 ? shortDay(ms) : every >= 3600e3 ? `${shortDay(ms)} ${clock(ms).slice(0, 5)}` : clock(ms).slice(0, 5);
}

// Bars, one beside the other. A bucket: {parts: [[class, value], …], title}. `brush(first, last)` gets the numbers of the
// buckets that somebody chooses, with the mouse or the keys.
function columns(buckets, { label, format, labels, brush }) {
  const sums = buckets.map((one) => one.parts.reduce((all, [, value]) => all + (value || 0), 0));
  const top = roundUp(Math.max(1e-9, ...sums) || 1);
  const plot = draw("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": label });
  const step = WIDE / Math.max(1, buckets.length);
  plot.append(draw("path", { d: `M0,0.5H${WIDE}M0,${HIGH / 2}H${WIDE}`, class: "grid" }));
  buckets.forEach((bucket, i) => {
    let y = HIGH;
    const group = draw("g", { "data-at": bucket.at });
    for (const [name, value] of bucket.parts) {
      if (!value) continue;
      const tall = Math.max(1, (value / top) * HIGH);
      y -= tall;
      group.append(draw("rect", { x: i * step + step * 0.08, y, width: step * 0.84, height: tall, class: name }));
    }
    group.append(draw("rect", { x: i * step, y: 0, width: step, height: HIGH, class: "hit" }, draw("title", {}, bucket.title ?? "")));
    plot.append(group);
  });
  if (brush) brushing(plot, buckets, step, brush, label);
  return frame(plot, [format(top), format(top / 2), "0"], labels, { isEach: labels.length === buckets.length });
}

// Bars over time: each bucket has its time as `at`. `brush(from, to)` gets the times chosen.
export function bars(buckets, { label, every, format = short, brush = null, ticks = 4 }) {
  const shown = Math.min(ticks, buckets.length);
  const at = (i) => buckets[Math.floor((i * (buckets.length - 1)) / Math.max(1, shown - 1))].at;
  const labels = Array.from({ length: shown }, (_, i) => timeLabel(at(i), every));
  return columns(buckets, { label, format, labels, brush: brush && ((first, last) => brush(buckets[first].at, buckets[last].at + every)) });
}

// Chooses some bars that are side by side: they are dragged over, or gone to with the arrows (with Shift: more of them)
// and taken with Enter. A screen reader is given the title of the bar that is gone to.
function brushing(plot, buckets, step, brush, label) {
  const last = buckets.length - 1;
  const mark = draw("rect", { y: 0, height: HIGH, class: "chosen", width: 0 });
  let fixed = null;
  let at = last;
  const show = () => {
    mark.setAttribute("x", Math.min(fixed, at) * step);
    mark.setAttribute("width", fixed === null ? 0 : (Math.abs(fixed - at) + 1) * step);
    plot.setAttribute("aria-valuenow", at);
    plot.setAttribute("aria-valuetext", buckets[at].title);
  };
  const move = (to, isMore) => {
    at = Math.min(last, Math.max(0, to));
    if (!isMore || fixed === null) fixed = at;
    show();
  };
  const drop = () => { fixed = null; show(); };
  const take = () => {
    if (fixed === null) return;
    const [first, end] = [fixed, at].sort((one, other) => one - other);
    drop();
    brush(first, end);
  };
  const index = (event) => {
    const box = plot.getBoundingClientRect();
    return Math.floor(((event.clientX - box.left) / box.width) * buckets.length);
  };
  let isDragged = false;
  plot.addEventListener("pointerdown", (event) => { isDragged = true; plot.setPointerCapture(event.pointerId); move(index(event), false); });
  plot.addEventListener("pointermove", (event) => { if (isDragged) move(index(event), true); });
  plot.addEventListener("pointerup", () => { if (isDragged) take(); isDragged = false; });
  plot.addEventListener("pointercancel", () => { isDragged = false; drop(); });
  plot.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: fixed === null ? at : at - 1, ArrowRight: fixed === null ? at : at + 1, Home: 0, End: last }[event.key];
    if (to !== undefined) move(to, event.shiftKey);
    else if (event.key === "Enter" || event.key === " ") take();
    else if (event.key === "Escape") drop();
    else return;
    event.preventDefault();
  });
  for (const [name, value] of Object.entries({
    class: "brush", tabindex: 0, role: "slider", "aria-valuemin": 0, "aria-valuemax": last,
    "aria-label": `${label}: the arrows go from bar to bar, with Shift over several, Enter narrows to them`,
  })) plot.setAttribute(name, value);
  plot.append(mark);
  show();
}

// The ends of the bars of durations, in ms: the same for all, so that two histograms can be compared.
export const EDGES = [-1, 0, 1, 2, 3, 4, 5, 6].flatMap((power) => [1, 1.5, 2, 3, 5, 7].map((step) => Number(`${step}e${power}`)));

// A histogram of durations. `counts`: [[number of edges reached, count], …]. `choose(min, max)` gets the durations chosen;
// `max` is not included, and "" is no limit.
export function histogram(counts, choose) {
  const found = new Map(counts.filter(([bin]) => bin !== null));
  if (!found.size) return null;
  const [low, high] = [Math.min(...found.keys()), Math.max(...found.keys())];
  const name = (bin) => (bin === 0 ? `under ${duration(EDGES[0])}` : bin === EDGES.length ? `${duration(EDGES.at(-1))} or more` : `${duration(EDGES[bin - 1])} to ${duration(EDGES[bin])}`);
  const buckets = Array.from({ length: high - low + 1 }, (_, i) => ({
    at: low + i, parts: [["c0", found.get(low + i) ?? 0]], title: `${name(low + i)}: ${count(found.get(low + i) ?? 0)}`,
  }));
  const middle = Math.floor((low + high) / 2);
  const labels = [low > 0 ? EDGES[low - 1] : 0, EDGES[Math.min(middle, EDGES.length - 1)], EDGES[Math.min(high, EDGES.length - 1)]];
  return columns(buckets, {
    label: "durations", format: short, labels: labels.map(duration),
    brush: (first, last) => choose(EDGES[low + first - 1] ?? "", EDGES[low + last] ?? ""),
  });
}

// Intervals of one length, a round number, that hold all values from `low` to `high`: their ends.
export function intervals(low, high, about = 16) {
  const least = (high - low || Math.abs(high) / 10 || 1) / about;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].find((one) => one * power >= least * (1 - 1e-9)) * power;
  const first = Math.floor(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 2 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// How many values are in each interval, by group. A row: [group, number of ends reached, count].
export function distribution(rows, { ends, groups, label, format }) {
  const found = new Map(rows.map(([group, bin, number]) => [`${bin} ${group}`, number]));
  const buckets = ends.slice(1).map((end, i) => {
    const counts = groups.map((group) => found.get(`${i + 1} ${group}`) ?? 0);
    return {
      at: i, parts: counts.map((number, place) => [`c${place % 8}`, number]),
      title: `${format(ends[i])} to ${format(end)}: ${groups.map((group, place) => `${group || "(none)"} ${count(counts[place])}`).join(", ")}`,
    };
  });
  return columns(buckets, { label, format: short, labels: [format(ends[0]), format(ends.at(-1))], brush: null });
}

// Lines over time. A series: {name, points: [[time, value|null], …]}.
export function lines(series, { label, every, format = short }) {
  const values = series.flatMap((one) => one.points.map(([, value]) => value).filter((value) => value !== null));
  const top = roundUp(Math.max(1e-9, ...values));
  const least = Math.min(0, ...values);
  const bottom = least < 0 ? -roundUp(-least) : 0;
  const times = series[0]?.points.map(([time]) => time) ?? [];
  const step = times.length > 1 ? WIDE / (times.length - 1) : 0;
  const plot = draw("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": label });
  plot.append(draw("path", { d: `M0,0.5H${WIDE}M0,${HIGH / 2}H${WIDE}`, class: "grid" }));
  series.forEach((one, number) => {
    let d = "";
    let isDown = false;
    one.points.forEach(([, value], i) => {
      if (value === null || value === undefined) { isDown = false; return; }
      const y = HIGH - ((value - bottom) / (top - bottom)) * HIGH;
      // A point between two that are missing is a dash.
      const isAlone = !isDown && (one.points[i + 1]?.[1] ?? null) === null;
      d += isDown ? `L${(i * step).toFixed(1)},${y.toFixed(1)}` : `M${(i * step).toFixed(1)},${y.toFixed(1)}h${isAlone ? 4 : 0.01}`;
      isDown = true;
    });
    plot.append(draw("path", { d, class: `series c${number % 8}` }, draw("title", {}, one.name)));
  });
  return frame(plot, [format(top), format((top + bottom) / 2), format(bottom)], times.length ? [timeLabel(times[0], every), timeLabel(times.at(-1), every)] : []);
}

export function legend(names) {
  return h("ul", { class: "legend" }, names.map((name, i) => h("li", {}, h("i", { class: `c${i % 8}` }), name)));
}
