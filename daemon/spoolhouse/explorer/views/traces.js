// The list of traces: what was slow, what failed, what was said.

import * as address from "../address.js";
import { ask, isOver } from "../api.js";
import { bars, EDGES, histogram } from "../chart.js";
import { count, counted, day, duration, full, h, when } from "../dom.js";
import { follow } from "../live.js";
import { badge, chip, empty, failed, liveButton, loading, nothingYet, searchField, segments } from "../parts.js";
import { interval, iso, windowOf } from "../window.js";

const PAGE = 100;
const PERCENTILES = ["p50", "p95", "p99"];
const LIVE_MS = 1000;
const STATUSES = [["", "all"], ["error", "error"], ["ok", "ok"], ["unset", "unset"]];

// Looked for in the name, in what went in and came out, and in what people and logs said of the trace. `words` finds
// whole words in any case, `includes` the text as it is.
function where(text) {
  if (!text) return undefined;
  const has = (...fields) => fields.flatMap((field) => [
    { field, op: "includes", value: text },
    ...(/[\p{L}\p{N}]/u.test(text) ? [{ field, op: "words", value: text }] : []),
  ]);
  return { or: [
    { field: "trace_id", op: "eq", value: text }, ...has("name", "input", "output"),
    { some: "feedback", where: { or: has("comment", "value") } },
    { some: "logs", where: { or: has("message") } },
  ] };
}

const both = (one, other) => (one && other ? { and: [one, other] } : one ?? other);

// From `min` to below `max`, as the bars of the histogram are.
function question(asked) {
  const { project, status, q, min, max } = asked;
  return {
    project, ...windowOf(asked), status: status || undefined, where: both(where(q), max ? { field: "duration_ms", op: "lt", value: Number(max) } : undefined),
    min: min ? Number(min) : undefined,
  };
}

// The first characters of the input, as JSON: what was said in them, if anything was.
function preview(input) {
  if (typeof input !== "string") return "";
  const said = [...input.matchAll(/"(?:content|text)":\s*"((?:[^"\\]|\\.)*)/g)].at(-1)?.[1] ?? input.replace(/^"|"$/g, "");
  return said.replace(/\\n/g, " ").replace(/\\(["\\/])/g, "$1");
}

export function mount(root, given) {
  let asked = given.asked;
  let cursor = null;
  let timer = 0;
  let isStale = false;
  let unfollow = () => {};
  const charts = h("div", { class: "charts" });
  const list = h("div", { class: "list" });
  const search = searchField("Search names, inputs, outputs, complaints, logs   /", (q) => address.change({ q }));
  const status = segments("status", STATUSES, (value) => address.change({ status: value }));
  const range = chip(() => address.change({ min: "", max: "" }));
  const live = liveButton(() => address.change({ live: asked.live ? "" : "1" }));
  const filters = h("div", { class: "filters" }, search.node, status.node, range.node, live.node);
  root.append(h("h1", { class: "sr" }, "Traces"), filters, charts, list);

  function showFilters() {
    search.show(asked.q ?? "");
    status.show((value) => value === (asked.status ?? ""));
    range.show(asked.min || asked.max ? `${duration(Number(asked.min ?? 0))} – ${asked.max ? duration(Number(asked.max)) : "…"}` : "");
    live.show(Boolean(asked.live));
  }

  async function load({ quietly = false } = {}) {
    if (!quietly) list.replaceChildren(loading());
    try {
      const page = await ask("traces", { ...question(asked), light: true, order: asked.order || "-time", page_size: PAGE }, "traces");
      cursor = page.cursor;
      showList(page.records);
    } catch (error) {
      if (!isOver(error)) list.replaceChildren(failed(error, load));
    }
  }

  async function figures() {
    const { status, min, ...common } = question(asked);
    const every = interval(asked);
    const shared = { signal: "trace", ...common, filters: Object.fromEntries(Object.entries({ status, min }).filter(([, value]) => value !== undefined)) };
    try {
      const [series, totals, spread] = await Promise.all([
        ask("figures", { ...shared, of: ["count", "errors"], every: every / 1000 }, "traces over time"),
        ask("figures", { ...shared, of: ["count", ...PERCENTILES] }, "trace durations"),
        ask("figures", { ...shared, of: ["count"], edges: EDGES }, "traces by duration"),
      ]);
      showCharts(series.rows, totals.rows[0]?.values ?? {}, spread.rows, every);
    } catch (error) {
      if (!isOver(error)) charts.replaceChildren();
    }
  }

  function showCharts(series, totals, spread, every) {
    const buckets = series.map(({ time, values }) => ({
      at: Date.parse(time), parts: [["ok", values.count - values.errors], ["error", values.errors]],
      title: `${every >= 86400e3 ? day(time) : full(time).slice(0, 16)}: ${counted(values.count, "trace")}, ${count(values.errors)} failed`,
    }));
    const total = totals.count ?? 0;
    const errors = series.reduce((all, one) => all + one.values.errors, 0);
    if (!total) { charts.replaceChildren(); return; }
    const made = histogram(spread.map(({ by, values }) => [by.bin, values.count]), (least, most) => address.change({ min: least, max: most }));
    charts.replaceChildren(
      h("figure", { class: "card wide" }, h("figcaption", {}, h("b", { id: "total" }, counted(total, "trace")), errors ? h("span", { class: "bad" }, ` ${count(errors)} failed`) : "", " over time"),
        bars(buckets, { label: "traces over time", every, brush: (from, to) => address.change({ since: iso(from), until: iso(to), live: "" }) })),
      made ? h("figure", { class: "card" }, h("figcaption", {}, "durations: ", PERCENTILES.map((one, i) => [i ? ", " : "", h("b", {}, duration(totals[one])), ` ${one}`])), made) : "");
  }

  function head(title, column, className = "") {
    const order = asked.order || "-time";
    const isBy = order.replace("-", "") === column;
    const next = order === `-${column}` ? column : `-${column}`;
    return h("th", { scope: "col", class: className, "aria-sort": isBy ? (order.startsWith("-") ? "descending" : "ascending") : null },
      h("button", { "data-order": column, click: () => address.change({ order: next === "-time" ? "" : next }) }, title));
  }

  function showList(records) {
    if (!records.length) {
      const isFiltered = asked.q || asked.status || asked.min || asked.max || asked.until;
      list.replaceChildren(isFiltered || given.daemon.status?.last_landed_ms
        ? empty("No trace is like that.", "Take a filter away, or a longer time.", h("button", { click: () => address.change({ q: "", status: "", min: "", max: "", since: "30d", until: "" }) }, "All of 30 days"))
        : nothingYet());
      return;
    }
    const longest = Math.max(...records.map((one) => one.duration_ms ?? 0), 1);
    const body = h("tbody", {}, records.map((one) => row(one, longest)));
    const table = h("table", { class: "rows", id: "traces" }, h("thead", {}, h("tr", {},
      head("Start", "time"), head("Name", "name"), h("th", { scope: "col" }, "Status"), head("Duration", "duration_ms", "n"), h("th", { scope: "col", class: "wide" }, "Input"))), body);
    list.replaceChildren(table);
    if (cursor) list.append(more(body, longest));
  }

  function more(body, longest) {
    const button = h("button", { class: "next" }, "More");
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const page = await ask("traces", { ...question(asked), light: true, order: asked.order || "-time", page_size: PAGE, cursor }, "traces");
        cursor = page.cursor;
        body.append(...page.records.map((one) => row(one, longest)));
        if (!cursor) button.remove();
      } catch (error) {
        if (!isOver(error)) button.replaceWith(failed(error, load));
      }
      button.disabled = false;
    });
    return button;
  }

  function row(one, longest) {
    const target = address.link("trace", address.common(asked), one.trace_id);
    const share = `${((one.duration_ms ?? 0) / longest) * 100}%`;
    return h("tr", { "data-id": one.trace_id, click: (event) => { if (!event.target.closest("a")) location.hash = target; } },
      h("td", { title: full(one.start_time) }, when(one.start_time)),
      h("td", { class: "name" }, h("a", { href: target }, one.name || "(no name)")),
      h("td", {}, badge(one.status)),
      h("td", { class: "n bar" }, h("i", { style: { width: share }, class: one.status === "error" ? "error" : "" }), h("span", {}, duration(one.duration_ms))),
      h("td", { class: "preview" }, preview(one.input)));
  }

  // Traces that land are shown in their place, and counted. What lands meanwhile waits for the answers: asked again before,
  // the page would end its own questions, and under steady traffic never show an answer.
  function reload() {
    isStale = true;
    if (timer) return;
    const own = timer = setTimeout(async () => {
      isStale = false;
      await Promise.allSettled([load({ quietly: true }), figures()]);
      if (timer !== own) return;
      timer = 0;
      if (isStale) reload();
    }, LIVE_MS);
  }

  function stop() {
    unfollow();
    clearTimeout(timer);
    timer = 0;
  }

  function start() {
    stop();
    showFilters();
    load();
    figures();
    const { since, until, ...filters } = question(asked);
    unfollow = asked.live ? follow("traces", { ...filters, light: true }, {
      begun: reload, took: reload, state: live.state, failed: (error) => list.prepend(failed(error, start)),
    }) : () => {};
  }
  start();
  return { update(next) { asked = next.asked; start(); }, leave: stop };
}
