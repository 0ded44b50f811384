// One run of an agent: its events in order, its tool calls, and what its models cost.

import * as address from "../address.js";
import { ask, isOver } from "../api.js";
import { count, counted, duration, full, h, money, short } from "../dom.js";
import { badge, content, copyable, empty, failed, loading, long, section } from "../parts.js";

const MOST = 1000;
const FAILED = ["error", "timeout", "assertion_failed"];

function byModel(events) {
  const found = new Map();
  for (const one of events.filter((event) => event.model)) {
    const sum = found.get(one.model) ?? { calls: 0, input: 0, output: 0, cost: 0 };
    sum.calls += 1;
    sum.input += one.tokens_input ?? 0;
    sum.output += one.tokens_output ?? 0;
    sum.cost += one.cost_estimate_usd ?? 0;
    found.set(one.model, sum);
  }
  if (!found.size) return null;
  return h("div", { class: "list" }, h("table", { class: "rows figures-table", id: "run-models" },
    h("thead", {}, h("tr", {}, ["Model", "Calls", "Tokens in", "out", "Cost"].map((text, i) => h("th", { scope: "col", class: i ? "n" : "" }, text)))),
    h("tbody", {}, [...found].map(([model, sum]) => h("tr", {}, h("th", { scope: "row" }, model), h("td", { class: "n" }, count(sum.calls)),
      h("td", { class: "n" }, short(sum.input)), h("td", { class: "n" }, short(sum.output)), h("td", { class: "n" }, h("b", {}, money(sum.cost))))))));
}

function byTool(events) {
  const found = new Map();
  for (const one of events.flatMap((event) => event.tool_calls)) {
    const sum = found.get(one.tool_name) ?? { calls: 0, failed: 0, ms: 0 };
    sum.calls += 1;
    sum.failed += FAILED.includes(one.status) ? 1 : 0;
    sum.ms += one.latency_ms ?? 0;
    found.set(one.tool_name, sum);
  }
  if (!found.size) return null;
  return h("div", { class: "list" }, h("table", { class: "rows figures-table", id: "run-tools" },
    h("thead", {}, h("tr", {}, ["Tool", "Calls", "Failed", "Took"].map((text, i) => h("th", { scope: "col", class: i ? "n" : "" }, text)))),
    h("tbody", {}, [...found].map(([tool, sum]) => h("tr", {}, h("th", { scope: "row" }, tool), h("td", { class: "n" }, count(sum.calls)),
      h("td", { class: sum.failed ? "n bad" : "n" }, count(sum.failed)), h("td", { class: "n" }, duration(sum.ms)))))));
}

const payload = (title, value, open = false) => (value === undefined || value === null || value === "" ? null : section(title, content(value), { open }));

function call(one) {
  return h("div", { class: "call" }, h("div", {}, h("b", {}, one.tool_name), " ", badge(one.status), " ", h("small", {}, duration(one.latency_ms))),
    one.error_message && h("div", { class: "fault" }, h("b", {}, one.error_type ?? "error"), h("p", { class: "text" }, one.error_message)),
    payload("Input", one.tool_input), payload("Output", one.tool_output));
}

function event(one, from) {
  const title = one.step_name ?? one.model ?? one.tool_calls[0]?.tool_name ?? one.assertion_name ?? "";
  return h("li", { class: one.status ?? "", "data-id": one.event_id },
    h("div", { class: "event-head" }, h("time", { title: full(one.timestamp) }, `+${duration(Date.parse(one.timestamp) - from)}`),
      one.step_number !== null && h("span", { class: "ordinal" }, one.step_number), h("b", {}, title), h("small", {}, one.event_type.replaceAll("_", " ")),
      badge(one.status), h("small", {}, duration(one.latency_ms)),
      one.tokens_input !== null && h("small", {}, `${short(one.tokens_input)} + ${short(one.tokens_output ?? 0)} tokens`),
      one.cost_estimate_usd !== null && h("small", {}, money(one.cost_estimate_usd))),
    one.error_message && h("div", { class: "fault" }, h("b", {}, one.error_type ?? "error"), h("p", { class: "text" }, one.error_message)),
    one.step_reasoning && h("p", { class: "text" }, long(one.step_reasoning)),
    payload("Prompt", one.prompt), payload("Response", one.response), payload("Input", one.step_input_data), payload("Output", one.step_output_data),
    one.tool_calls.map(call), payload("Context", one.context));
}

export function mount(root, given) {
  const { id, asked } = given;

  async function load() {
    root.replaceChildren(loading(12));
    try {
      const page = await ask("events", { project: asked.project, run: id, since: "1970-01-01", order: "time", page_size: MOST });
      const back = h("a", { class: "back", href: address.link("runs", address.common(asked)), "aria-label": "all runs" });
      if (!page.records.length) { root.replaceChildren(empty("There is no such run in this project.", back)); return; }
      const from = Date.parse(page.records[0].timestamp);
      const errors = page.records.filter((one) => FAILED.includes(one.status)).length;
      const cost = page.records.reduce((all, one) => all + (one.cost_estimate_usd ?? 0), 0);
      root.replaceChildren(
        h("div", { class: "head" }, back, h("h1", {}, id), h("span", { class: "soft" }, full(from)), h("span", {}, counted(page.records.length, "event")),
          errors > 0 && h("span", { class: "bad" }, `${errors} failed`), cost > 0 && h("b", {}, money(cost)), copyable(id, "copy the id")),
        h("div", { class: "run-body" }, h("div", { class: "charts" }, byModel(page.records) ?? "", byTool(page.records) ?? ""), h("ol", { class: "steps", id: "steps" }, page.records.map((one) => event(one, from))),
          page.truncated ? h("p", { class: "soft" }, `The first ${MOST} events are shown.`) : ""));
    } catch (error) {
      if (!isOver(error)) root.replaceChildren(failed(error, load));
    }
  }
  load();
  return {};
}
