// Elements and texts. What comes from the store is text: nothing here, and nothing that uses it, reads markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(made, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, value);
    else if (name === "style") for (const [key, one] of Object.entries(value)) made.style.setProperty(key, one);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

// Functions among the properties are listeners, by the name of their event.
export function h(name, properties, ...children) {
  return fill(document.createElement(name), properties, children);
}

export function draw(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

export function count(number) {
  return number.toLocaleString("en", { maximumFractionDigits: number < 10 ? 1 : 0 });
}

export function counted(number, what) {
  return `${count(number)} ${what}${number === 1 ? "" : "s"}`;
}

export function short(number) {
  return number.toLocaleString("en", { notation: number < 10000 ? "standard" : "compact", maximumFractionDigits: 1 });
}

export function bytes(number) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (number >= 1000 && unit < units.length - 1) { number /= 1000; unit += 1; }
  return `${number.toLocaleString("en", { maximumFractionDigits: number < 10 && unit ? 1 : 0 })}\u00a0${units[unit]}`;
}

export function span(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * size) return `${Math.round(seconds / size)}\u00a0${unit}`;
  }
  return `${Math.round(seconds)}\u00a0s`;
}

const digits = (number, most) => number.toLocaleString("en", { maximumFractionDigits: most });

export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${digits(ms, ms < 10 ? 1 : 0)}\u00a0ms`;
  if (ms < 60e3) return `${digits(ms / 1e3, ms < 10e3 ? 2 : 1)}\u00a0s`;
  if (ms < 3600e3) return `${Math.floor(ms / 60e3)}\u00a0min ${Math.round((ms % 60e3) / 1e3)}\u00a0s`;
  return `${Math.floor(ms / 3600e3)}\u00a0h ${Math.round((ms % 3600e3) / 60e3)}\u00a0min`;
}

export function money(dollars) {
  if (dollars === null || dollars === undefined) return "–";
  const places = dollars === 0 || dollars >= 1 ? 2 : dollars >= 0.001 ? 4 : 6;
  return `$${dollars.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places })}`;
}

const two = (number) => String(number).padStart(2, "0");

export function clock(time) {
  return new Date(time).toLocaleTimeString("en-GB");
}

export function clockMs(time) {
  const date = new Date(time);
  return `${clock(date)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

export function day(time) {
  const date = new Date(time);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export function shortDay(time) {
  const date = new Date(time);
  return `${date.getDate()}\u00a0${MONTHS[date.getMonth()]}`;
}

// The time of the day where that is enough: `now` tells which day it is.
export function when(time, now = Date.now()) {
  return day(time) === day(now) ? clock(time) : `${shortDay(time)} ${clock(time)}`;
}

export function full(time) {
  return `${day(time)} ${clockMs(time)}`;
}

export function ago(time, now = Date.now()) {
  const seconds = (now - new Date(time)) / 1000;
  return seconds < 0 ? "in the future" : `${span(seconds)} ago`;
}
