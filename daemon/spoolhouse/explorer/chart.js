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

// Bars over time. A bucket: {time, parts: [[class, value], …], title}. `brush(from, to)` gets the times chosen.
export function bars(buckets, { label, every, format = short, brush = null, ticks = 4 }) {
  const sums = buckets.map((one) => one.parts.reduce((all, [, value]) => all + (value || 0), 0));
  const top = roundUp(Math.max(1e-9, ...sums) || 1);
  const plot = draw("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": label, class: brush ? "brush" : "" });
  const step = WIDE / Math.max(1, buckets.length);
  plot.append(draw("path", { d: `M0,0.5H${WIDE}M0,${HIGH / 2}H${WIDE}`, class: "grid" }));
  buckets.forEach((bucket, i) => {
    let y = HIGH;
    const group = draw("g", { "data-time": bucket.time });
    for (const [name, value] of bucket.parts) {
      if (!value) continue;
      const tall = Math.max(1, (value / top) * HIGH);
      y -= tall;
      group.append(draw("rect", { x: i * step + step * 0.08, y, width: step * 0.84, height: tall, class: name }));
    }
    group.append(draw("rect", { x: i * step, y: 0, width: step, height: HIGH, class: "hit" }, draw("title", {}, bucket.title ?? "")));
    plot.append(group);
  });
  if (brush) brushing(plot, buckets, every, step, brush);
  const shown = Math.min(ticks, buckets.length);
  const at = (i) => buckets[Math.floor((i * (buckets.length - 1)) / Math.max(1, shown - 1))].time;
  const labels = Array.from({ length: shown }, (_, i) => timeLabel(at(i), every));
  return frame(plot, top > 0 ? [format(top), format(top / 2), "0"] : [], labels, { isEach: shown === buckets.length });
}

function brushing(plot, buckets, every, step, brush) {
  const mark = draw("rect", { y: 0, height: HIGH, class: "chosen", width: 0 });
  plot.append(mark);
  let from = null;
  const index = (event) => {
    const box = plot.getBoundingClientRect();
    return Math.min(buckets.length - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * buckets.length)));
  };
  const show = (a, b) => {
    mark.setAttribute("x", Math.min(a, b) * step);
    mark.setAttribute("width", (Math.abs(a - b) + 1) * step);
  };
  plot.addEventListener("pointerdown", (event) => { from = index(event); plot.setPointerCapture(event.pointerId); show(from, from); });
  plot.addEventListener("pointermove", (event) => { if (from !== null) show(from, index(event)); });
  plot.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const [a, b] = [from, index(event)].sort((one, other) => one - other);
    from = null;
    brush(buckets[a].time, buckets[b].time + every);
  });
}

// How durations are spread, from their percentiles ([[share, ms], …] by share): bars on a logarithmic scale.
export function spread(percentiles, total, choose) {
  const known = percentiles.filter(([, ms]) => ms !== null && ms !== undefined);
  if (known.length < 2 || !total) return null;
  const low = Math.max(0.5, known[0][1]);
  const high = Math.max(low * 1.01, known.at(-1)[1]);
  const bins = 24;
  const edge = (i) => low * (high / low) ** (i / bins);
  const share = (ms) => {
    if (ms < known[0][1]) return 0;
    for (let i = 1; i < known.length; i += 1) {
      const [[a, from], [b, to]] = [known[i - 1], known[i]];
      if (ms < to) return a + ((b - a) * (ms - from)) / Math.max(1e-9, to - from);
    }
    return 1;
  };
  const made = Array.from({ length: bins }, (_, i) => {
    const below = i === 0 ? 0 : share(edge(i));
    return Math.max(0, (i === bins - 1 ? 1 : share(edge(i + 1))) - below);
  });
  const top = Math.max(...made);
  const plot = draw("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": "durations", class: "brush" });
  const step = WIDE / bins;
  made.forEach((part, i) => {
    const text = `${duration(edge(i))} to ${duration(edge(i + 1))}: about ${count(Math.round(part * total))}`;
    plot.append(draw("g", { click: () => choose(edge(i), edge(i + 1)) },
      draw("rect", { x: i * step + 3, y: HIGH - (part / top) * HIGH, width: step - 6, height: (part / top) * HIGH, class: "c0" }),
      draw("rect", { x: i * step, y: 0, width: step, height: HIGH, class: "hit" }, draw("title", {}, text))));
  });
  return frame(plot, [], [duration(low), duration(edge(bins / 2)), duration(high)]);
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
      d += isDown ? `L${(i * step).toFixed(1)},${y.toFixed(1)}` : `M${(i * step).toFixed(1)},${y.toFixed(1)}h0.01`;
      isDown = true;
    });
    plot.append(draw("path", { d, class: `series c${number % 8}` }, draw("title", {}, one.name)));
  });
  return frame(plot, [format(top), format((top + bottom) / 2), format(bottom)], times.length ? [timeLabel(times[0], every), timeLabel(times.at(-1), every)] : []);
}

export function legend(names) {
  return h("ul", { class: "legend" }, names.map((name, i) => h("li", {}, h("i", { class: `c${i % 8}` }), name)));
}
