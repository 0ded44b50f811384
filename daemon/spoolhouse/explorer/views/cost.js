// What models cost, by day; by the calls of agents, and by spans.

import * as address from "../address.js";
import { ask, isOver } from "../api.js";
import { bars, legend } from "../chart.js";
import { count, day, duration, h, money, short, shortDay } from "../dom.js";
import { empty, failed, loading, segments } from "../parts.js";
import { windowOf } from "../window.js";

const SOURCES = [
  {
    title: "Calls of agents", signal: "event", filters: { type: "prompt_call" }, latency: "p95",
    cost: "sum:cost_estimate_usd", input: "sum:tokens_input", output: "sum:tokens_output", id: "events-cost",
  },
  {
    title: "Spans of models", signal: "span", filters: {}, where: { not: { field: "model", op: "eq", value: "" } }, latency: "p95",
    cost: "sum:cost_usd", input: "sum:input_tokens", output: "sum:output_tokens", id: "spans-cost",
  },
];
const MEASURES = [["cost", "Cost"], ["tokens", "Tokens"], ["count", "Calls"]];

// A day begins at midnight UTC, as the buckets do.
const daysOf = (rows) => [...new Set(rows.map((row) => row.time))].sort();

function measured(values, source, measure) {
  if (measure === "cost") return values[source.cost] ?? 0;
  if (measure === "tokens") return (values[source.input] ?? 0) + (values[source.output] ?? 0);
  return values.count;
}

const shownAs = { cost: money, tokens: short, count };

function block(source, byDay, totals, measure) {
  const format = shownAs[measure];
  const models = [...totals].sort((a, b) => measured(b.values, source, measure) - measured(a.values, source, measure)).map((row) => row.by.model ?? "");
  const days = daysOf(byDay);
  const cell = new Map(byDay.map((row) => [`${row.time} ${row.by.model ?? ""}`, row.values]));
  const at = (time, model) => { const values = cell.get(`${time} ${model}`); return values ? measured(values, source, measure) : 0; };
  const buckets = days.map((time) => ({
    at: Date.parse(time), parts: models.map((model, i) => [`c${i % 8}`, at(time, model)]),
    title: `${time.slice(0, 10)}: ${models.map((model) => `${model} ${format(at(time, model))}`).join(", ")}`,
  }));
  const sum = totals.reduce((all, row) => all + measured(row.values, source, measure), 0);
  const of = (model) => totals.find((row) => (row.by.model ?? "") === model).values;
  return h("section", {},
    h("h2", {}, source.title, " ", h("b", { class: "sum" }, format(sum))),
    h("figure", { class: "card tall" }, bars(buckets, { label: `${measure} by model and day`, every: 86400e3, format, ticks: Math.min(8, days.length) }), legend(models.map((model) => model || "(no model)"))),
    h("div", { class: "list" }, h("table", { class: "rows figures-table", id: source.id },
      h("thead", {}, h("tr", {}, ["Model", ...days.map((time) => shortDay(new Date(Date.parse(time)).toISOString().slice(0, 10) + "T12:00")), "Sum", "Tokens in", "out", "Calls", "Failed", "p95"].map((text, i) => h("th", { scope: "col", class: i ? "n" : "" }, text)))),
      h("tbody", {}, models.map((model, i) => {
        const values = of(model);
        return h("tr", { "data-model": model }, h("th", { scope: "row" }, h("i", { class: `dot c${i % 8}` }), model || "(no model)"),
          days.map((time) => h("td", { class: "n", "data-day": time.slice(0, 10) }, at(time, model) ? format(at(time, model)) : "–")),
          h("td", { class: "n sum" }, h("b", {}, format(measured(values, source, measure)))),
          h("td", { class: "n" }, short(values[source.input] ?? 0)), h("td", { class: "n" }, short(values[source.output] ?? 0)),
          h("td", { class: "n" }, count(values.count)), h("td", { class: values.errors ? "n bad" : "n" }, count(values.errors)),
          h("td", { class: "n" }, duration(values[source.latency])));
      })))));
}

export function mount(root, given) {
  let asked = given.asked;
  const measures = segments("measure", MEASURES, (value) => address.change({ measure: value === "cost" ? "" : value }));
  const filters = h("div", { class: "filters" }, measures.node);
  const list = h("div", {});
  root.append(h("h1", { class: "sr" }, "Cost of models"), filters, list);

  async function load() {
    list.replaceChildren(loading());
    const measure = asked.measure || "cost";
    measures.show((value) => value === measure);
    try {
      const made = await Promise.all(SOURCES.map(async (source) => {
        const common = { signal: source.signal, project: asked.project, ...windowOf(asked), filters: source.filters, where: source.where, by: ["model"] };
        const of = ["count", "errors", source.cost, source.input, source.output];
        const [byDay, totals] = await Promise.all([
          ask("figures", { ...common, of, every: "1d" }, `${source.id} by day`),
          ask("figures", { ...common, of: [...of, source.latency] }, `${source.id} totals`),
        ]);
        return totals.rows.length ? block(source, byDay.rows, totals.rows, measure) : null;
      }));
      const shown = made.filter(Boolean);
      list.replaceChildren(...(shown.length ? shown : [empty("No model was called in this time.", "Events of the type prompt_call, and spans with a model, are counted here.")]));
      if (shown.length) list.append(h("p", { class: "soft" }, "Days begin at midnight UTC. ", `${day(Date.now())} is not over.`));
    } catch (error) {
      if (!isOver(error)) list.replaceChildren(failed(error, load));
    }
  }
  load();
  return { update(next) { asked = next.asked; load(); } };
}
