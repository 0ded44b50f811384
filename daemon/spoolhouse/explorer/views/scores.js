// Scores by name, over time and how they are spread; and what people said.

import * as address from "../address.js";
import { ask, isOver } from "../api.js";
import { bars, distribution, intervals, legend, lines } from "../chart.js";
import { count, full, h, shortDay, when } from "../dom.js";
import { judging } from "../judge.js";
import { chip, empty, failed, loading, searchField, segments } from "../parts.js";
import { interval, iso, windowOf } from "../window.js";

const PAGE = 200;
const fine = (number) => (number === null || number === undefined ? "–" : number.toLocaleString("en", { maximumFractionDigits: 3 }));

function summary(rows, asked) {
  const percentiles = ["min", "p25", "p50", "p75", "max"];
  return h("div", { class: "list" }, h("table", { class: "rows figures-table", id: "scores" },
    h("thead", {}, h("tr", {}, ["Score", "Experiment", "Count", "Mean", ...percentiles, "Spread"].map((text, i) => h("th", { scope: "col", class: i > 1 ? "n" : "" }, text)))),
    h("tbody", {}, rows.map(({ by, values }) => h("tr", {}, h("th", { scope: "row" }, h("a", { href: address.link("scores", { ...asked, name: by.name }) }, by.name)), h("td", {}, by.experiment || "–"),
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
  const name = chip(() => address.change({ name: "" }));
  const chosen = h("div", { class: "filters" }, name.node);
  const chart = h("div", {});
  const add = judging({ get project() { return asked.project; } }, () => { scores(); feedback(); });
  root.append(h("h1", { class: "sr" }, "Scores and feedback"), add, chosen, list, h("h2", {}, "Feedback"), filters, chart, said);

  // Means over time: of all scores by name, or of one by experiment; and then how its values are spread, too.
  async function scores() {
    list.replaceChildren(loading(3));
    name.show(asked.name ?? "");
    chosen.hidden = !asked.name;
    const every = interval(asked, 40);
    const key = asked.name ? "experiment" : "name";
    const common = { signal: "score", project: asked.project, ...windowOf(asked), filters: asked.name ? { name: asked.name } : {} };
    try {
      const [totals, series] = await Promise.all([
        ask("figures", { ...common, of: ["count", "avg", "min", "p25", "p50", "p75", "max"], by: ["name", "experiment"] }, "scores"),
        ask("figures", { ...common, of: ["avg"], by: [key], every: every / 1000 }, "scores over time"),
      ]);
      if (!totals.rows.length) { list.replaceChildren(empty("No score in this time.")); return; }
      const groups = [...new Set(series.rows.map((row) => row.by[key]))];
      const points = groups.map((group) => ({ name: group || "(none)", points: series.rows.filter((row) => row.by[key] === group).map((row) => [Date.parse(row.time), row.values.avg]) }));
      const title = asked.name ? [h("b", {}, asked.name), " mean over time, by experiment"] : "mean over time";
      list.replaceChildren(
        h("div", { class: "charts" }, h("figure", { class: "card" }, h("figcaption", {}, title), lines(points, { label: "mean of scores over time", every, format: fine }), legend(points.map((one) => one.name))),
          asked.name ? await spread(common, totals.rows, groups) : ""),
        summary(totals.rows, asked));
    } catch (error) {
      if (!isOver(error)) list.replaceChildren(failed(error, scores));
    }
  }

  async function spread(common, totals, groups) {
    const ends = intervals(Math.min(...totals.map((row) => row.values.min)), Math.max(...totals.map((row) => row.values.max)));
    const { rows } = await ask("figures", { ...common, of: ["count"], by: ["experiment"], edges: ends }, "scores by value");
    return h("figure", { class: "card", id: "spread" }, h("figcaption", {}, "how many have which value"),
      distribution(rows.map(({ by, values }) => [by.experiment, by.bin, values.count]), { ends, groups, label: `values of ${asked.name}`, format: fine }),
      legend(groups.map((group) => group || "(none)")));
  }

  // How much feedback there was when, by type, and the mean of what are numbers.
  async function showTypes(where) {
    const every = interval(asked, 40);
    const common = { signal: "feedback", project: asked.project, ...windowOf(asked), where, by: ["feedback_type"] };
    try {
      const [totals, series] = await Promise.all([
        ask("figures", { ...common, of: ["count", "avg"] }, "feedback by type"),
        ask("figures", { ...common, of: ["count"], every: every / 1000 }, "feedback over time"),
      ]);
      const types = totals.rows.map((row) => row.by.feedback_type);
      const sum = totals.rows.reduce((all, row) => all + row.values.count, 0);
      if (!sum) { chart.replaceChildren(); return; }
      const times = new Map(series.rows.map((row) => [row.time, {}]));
      for (const { time, by, values } of series.rows) times.get(time)[by.feedback_type] = values.count;
      const buckets = [...times].map(([time, counts]) => ({
        at: Date.parse(time), parts: types.map((type, i) => [`c${i % 8}`, counts[type] ?? 0]),
        title: `${shortDay(time)} ${full(time).slice(11, 16)}: ${types.map((type) => `${type} ${counts[type] ?? 0}`).join(", ")}`,
      }));
      const shown = totals.rows.map(({ by, values }) => `${by.feedback_type} ${count(values.count)}${values.avg === null ? "" : `, mean ${fine(values.avg)}`}`);
      chart.replaceChildren(h("figure", { class: "card", id: "types" }, h("figcaption", {}, h("b", {}, count(sum)), " over time, by type"),
        bars(buckets, { label: "feedback over time", every, brush: (from, to) => address.change({ since: iso(from), until: iso(to) }) }), legend(shown)), h("p", {}));
    } catch (error) {
      if (!isOver(error)) chart.replaceChildren();
    }
  }

  async function feedback() {
    said.replaceChildren(loading(4));
    search.show(asked.q ?? "");
    kinds.show((kind) => kind === (asked.kind ?? ""));
    const words = asked.q ? { field: "comment", op: "words", value: asked.q } : undefined;
    const where = words ?? (asked.kind === "comment" ? { field: "comment", op: "exists", value: true } : undefined);
    showTypes(where);
    try {
      const page = await ask("feedback/page", { project: asked.project, ...windowOf(asked), where, page_size: PAGE }, "feedback");
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
