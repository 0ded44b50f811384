// Scores by name, over time and how they are spread; and what people said.

import * as address from "../address.js";
import { ask, isOver } from "../api.js";
import { legend, lines } from "../chart.js";
import { count, full, h, when } from "../dom.js";
import { empty, failed, loading, searchField, segments } from "../parts.js";
import { interval, windowOf } from "../window.js";

const PAGE = 200;
const fine = (number) => (number === null || number === undefined ? "–" : number.toLocaleString("en", { maximumFractionDigits: 3 }));

function summary(rows) {
  const percentiles = ["min", "p25", "p50", "p75", "max"];
  return h("div", { class: "list" }, h("table", { class: "rows figures-table", id: "scores" },
    h("thead", {}, h("tr", {}, ["Score", "Experiment", "Count", "Mean", ...percentiles, "Spread"].map((text, i) => h("th", { scope: "col", class: i > 1 ? "n" : "" }, text)))),
    h("tbody", {}, rows.map(({ by, values }) => h("tr", {}, h("th", { scope: "row" }, by.name), h("td", {}, by.experiment || "–"),
      h("td", { class: "n" }, count(values.count)), h("td", { class: "n" }, h("b", {}, fine(values.avg))),
      percentiles.map((one) => h("td", { class: "n" }, fine(values[one]))), h("td", { class: "n" }, box(values, rows)))))));
}

// From the least to the largest, with the middle half and the median, on one scale for all.
function box(values, rows) {
  const low = Math.min(0, ...rows.map((row) => row.values.min));
  const high = Math.max(1, ...rows.map((row) => row.values.max));
  const at = (value) => `${((value - low) / (high - low)) * 100}%`;
  const wide = (from, to) => `${((to - from) / (high - low)) * 100}%`;
  return h("span", { class: "box", role: "img", "aria-label": `from ${fine(values.min)} to ${fine(values.max)}, half of them from ${fine(values.p25)} to ${fine(values.p75)}` },
    h("i", { class: "all-of", style: { left: at(values.min), width: wide(values.min, values.max) } }),
    h("i", { class: "half", style: { left: at(values.p25), width: wide(values.p25, values.p75) } }),
    h("i", { class: "middle", style: { left: at(values.p50) } }));
}

export function mount(root, given) {
  let asked = given.asked;
  const list = h("div", {});
  const said = h("div", {});
  const search = searchField("Search words in comments   /", (q) => address.change({ q }));
  const kinds = segments("kind", [["", "all"], ["comment", "with words"]], (kind) => address.change({ kind }));
  const filters = h("div", { class: "filters" }, search.node, kinds.node);
  root.append(h("h1", { class: "sr" }, "Scores and feedback"), list, h("h2", {}, "Feedback"), filters, said);

  async function scores() {
    list.replaceChildren(loading(3));
    const every = interval(asked, 40);
    const common = { signal: "score", project: asked.project, ...windowOf(asked) };
    try {
      const [totals, series] = await Promise.all([
        ask("figures", { ...common, of: ["count", "avg", "min", "p25", "p50", "p75", "max"], by: ["name", "experiment"] }, "scores"),
        ask("figures", { ...common, of: ["avg"], by: ["name"], every: every / 1000 }, "scores over time"),
      ]);
      if (!totals.rows.length) { list.replaceChildren(empty("No score in this time.")); return; }
      const names = [...new Set(series.rows.map((row) => row.by.name))];
      const points = names.map((name) => ({ name, points: series.rows.filter((row) => row.by.name === name).map((row) => [Date.parse(row.time), row.values.avg]) }));
      list.replaceChildren(
        h("figure", { class: "card" }, h("figcaption", {}, "mean over time"), lines(points, { label: "mean of scores over time", every, format: fine }), legend(names)),
        h("p", {}), summary(totals.rows));
    } catch (error) {
      if (!isOver(error)) list.replaceChildren(failed(error, scores));
    }
  }

  async function feedback() {
    said.replaceChildren(loading(4));
    search.show(asked.q ?? "");
    kinds.show((kind) => kind === (asked.kind ?? ""));
    const words = asked.q ? { field: "comment", op: "words", value: asked.q } : undefined;
    const where = words ?? (asked.kind === "comment" ? { field: "comment", op: "exists", value: true } : undefined);
    try {
      const page = await ask("feedback", { project: asked.project, ...windowOf(asked), where, page_size: PAGE }, "feedback");
      said.replaceChildren(page.records.length ? h("div", { class: "list" }, table(page.records)) : empty("No feedback is like that."));
      if (page.truncated) said.append(h("p", { class: "soft" }, `The newest ${PAGE} are shown: narrow the time for others.`));
    } catch (error) {
      if (!isOver(error)) said.replaceChildren(failed(error, feedback));
    }
  }

  function table(records) {
    return h("table", { class: "rows", id: "feedback" },
      h("thead", {}, h("tr", {}, ["When", "Value", "Type", "From", "Comment"].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, records.map((one) => {
        const target = one.trace_id ? address.link("trace", { ...address.common(asked), span: one.span_id ?? "" }, one.trace_id) : null;
        return h("tr", { "data-id": one.id, click: (event) => { if (target && !event.target.closest("a")) location.hash = target; } },
          h("td", { title: full(one.timestamp) }, when(one.timestamp)), h("td", {}, h("b", {}, String(one.value))), h("td", {}, one.feedback_type),
          h("td", {}, [one.source, one.user_id].filter(Boolean).join(" · ")),
          h("td", { class: "preview said-text" }, target ? h("a", { href: target }, one.comment ?? "open its trace") : one.comment ?? ""));
      })));
  }
  scores();
  feedback();
  return { update(next) { asked = next.asked; scores(); feedback(); } };
}
