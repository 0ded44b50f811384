// Log lines: words, levels, how many when; and those that land now.

import * as address from "../address.js";
import { ask, isOver } from "../api.js";
import { bars } from "../chart.js";
import { clockMs, counted, full, h, shortDay, when } from "../dom.js";
import { follow } from "../live.js";
import { chip, copyable, empty, failed, liveButton, loading, nothingYet, searchField, segments, tree } from "../parts.js";
import { interval, iso, windowOf } from "../window.js";

const PAGE = 200;
const MOST_LIVE = 1000;
const LEVELS = ["fatal", "error", "warn", "info", "debug"];

function question(asked) {
  const levels = asked.level ? asked.level.split(",") : undefined;
  return { project: asked.project, level: levels, words: asked.q || undefined, trace: asked.trace || undefined };
}

export function mount(root, given) {
  let asked = given.asked;
  let cursor = null;
  let loaded = null;
  let unfollow = () => {};
  const search = searchField("Search words in messages   /", (q) => address.change({ q }));
  const levels = segments("levels", LEVELS.map((level) => [level, level]), toggle);
  const trace = chip(() => address.change({ trace: "" }));
  const live = liveButton(() => address.change({ live: asked.live ? "" : "1" }));
  const filters = h("div", { class: "filters" }, search.node, levels.node, trace.node, live.node);
  const chart = h("div", { class: "charts" });
  const list = h("div", { class: "list" });
  const body = h("ol", { class: "records", id: "logs" });
  root.append(h("h1", { class: "sr" }, "Logs"), filters, chart, list);

  function toggle(level) {
    const chosen = new Set(asked.level ? asked.level.split(",") : []);
    if (!chosen.delete(level)) chosen.add(level);
    address.change({ level: [...chosen].join(",") });
  }

  function showFilters() {
    const chosen = asked.level ? asked.level.split(",") : [];
    search.show(asked.q ?? "");
    levels.show((level) => chosen.includes(level));
    trace.show(asked.trace ? `of trace ${asked.trace.slice(0, 12)}` : "");
    live.show(Boolean(asked.live));
  }

  async function load({ quietly = false } = {}) {
    if (!quietly) list.replaceChildren(loading());
    try {
      const page = await ask("logs", { ...question(asked), ...windowOf(asked), page_size: PAGE }, "logs");
      cursor = page.cursor;
      if (!page.records.length) {
        const isFiltered = asked.q || asked.level || asked.trace || asked.until;
        list.replaceChildren(isFiltered || given.daemon.status?.last_landed_ms ? empty("No log line is like that.", "Take a filter away, or a longer time.", h("button", { click: () => address.change({ q: "", level: "", trace: "", since: "30d", until: "" }) }, "All of 30 days")) : nothingYet());
        return;
      }
      body.replaceChildren(...page.records.map(line));
      list.replaceChildren(body);
      if (cursor) list.append(more());
    } catch (error) {
      if (!isOver(error)) list.replaceChildren(failed(error, load));
    }
  }

  function more() {
    const button = h("button", { class: "next" }, "More");
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const page = await ask("logs", { ...question(asked), ...windowOf(asked), page_size: PAGE, cursor }, "logs");
        cursor = page.cursor;
        body.append(...page.records.map(line));
        if (!cursor) button.remove();
      } catch (error) {
        if (!isOver(error)) button.replaceWith(failed(error, load));
      }
      button.disabled = false;
    });
    return button;
  }

  function line(one) {
    const target = one.trace_id ? address.link("trace", { ...address.common(asked), span: one.span_id ?? "" }, one.trace_id) : null;
    const made = h("li", { class: one.level, "data-id": one.id },
      h("button", { class: "record", "aria-expanded": "false", "aria-label": `details of ${one.message.slice(0, 80)}` },
        h("time", { title: full(one.timestamp) }, asked.live ? clockMs(one.timestamp) : when(one.timestamp)),
        h("span", { class: `level ${one.level}` }, one.level), h("span", { class: "message" }, one.message)),
      target ? h("a", { href: target, class: "jump" }, "trace") : "");
    made.firstChild.addEventListener("click", () => open(made, one));
    return made;
  }

  function open(made, one) {
    const had = made.querySelector(".details");
    made.firstChild.setAttribute("aria-expanded", String(!had));
    if (had) { had.remove(); return; }
    const { message, attributes, id, trace_id: trace, span_id: span, timestamp, deployment_id: deployment, extra } = one;
    const shown = Object.fromEntries(Object.entries({ attributes, deployment, extra }).filter(([, value]) => value && Object.keys(value).length));
    made.append(h("div", { class: "details" }, h("pre", {}, message), h("p", {}, h("small", {}, full(timestamp), " "), copyable(id), trace ? [" trace ", copyable(trace)] : "", span ? [" span ", copyable(span)] : ""), tree(shown)));
  }

  async function histogram() {
    const every = interval(asked);
    const { project, ...filtersAsked } = question(asked);
    const given = Object.fromEntries(Object.entries(filtersAsked).filter(([, value]) => value !== undefined));
    try {
      const answer = await ask("figures", { signal: "log", project, ...windowOf(asked), filters: given, of: ["count"], by: ["level"], every: every / 1000 }, "logs over time");
      const buckets = new Map();
      let total = 0;
      for (const { time, by, values } of answer.rows) {
        if (!buckets.has(time)) buckets.set(time, {});
        buckets.get(time)[by.level] = values.count;
        total += values.count;
      }
      if (!total) { chart.replaceChildren(); return; }
      const shown = [...buckets].map(([time, counts]) => ({
        at: Date.parse(time), parts: [...LEVELS].reverse().map((level) => [level, counts[level] ?? 0]),
        title: `${shortDay(time)} ${full(time).slice(11, 16)}: ${LEVELS.filter((level) => counts[level]).map((level) => `${counts[level]} ${level}`).join(", ") || "none"}`,
      }));
      chart.replaceChildren(h("figure", { class: "card" }, h("figcaption", {}, h("b", { id: "total" }, counted(total, "line")), " over time, by level"),
        bars(shown, { label: "log lines over time", every, ticks: 6, brush: (from, to) => address.change({ since: iso(from), until: iso(to), live: "" }) })));
    } catch (error) {
      if (!isOver(error)) chart.replaceChildren();
    }
  }

  // What lands may be in the list already, or stand in for an older version.
  async function take(records) {
    await loaded;
    if (!body.isConnected) { body.replaceChildren(); list.replaceChildren(body); }
    for (const one of records) {
      body.querySelector(`[data-id="${CSS.escape(one.id)}"]`)?.remove();
      body.prepend(line(one));
    }
    while (body.childElementCount > MOST_LIVE) body.lastChild.remove();
  }

  function start() {
    unfollow();
    showFilters();
    loaded = load();
    histogram();
    unfollow = asked.live ? follow("logs", question(asked), {
      begun() { loaded = load({ quietly: true }); },
      took: take,
      state: live.state,
      failed: (error) => list.prepend(failed(error, start)),
    }) : () => {};
  }
  start();
  return { update(next) { asked = next.asked; start(); }, leave() { unfollow(); } };
}
