// Metrics: which there are, and one over time, as a whole or by a label.

import * as address from "../address.js";
import { ask, isOver } from "../api.js";
import { legend, lines } from "../chart.js";
import { count, h } from "../dom.js";
import { chip, empty, failed, loading, segments } from "../parts.js";
import { interval, windowOf } from "../window.js";

const MEASURES = ["avg", "sum", "min", "max", "p50", "p95", "p99", "count"];
const SHOWN = ["count", "avg", "min", "p50", "p95", "p99", "max", "last"];
const MOST_SERIES = 8;
const POINTS = 60;

const fine = (number) => (number === null || number === undefined ? "–" : Math.abs(number) >= 10000
  ? number.toLocaleString("en", { notation: "compact", maximumFractionDigits: 2 }) : number.toLocaleString("en", { maximumSignificantDigits: 4 }));

export function mount(root, given) {
  let asked = given.asked;
  const name = chip(() => address.change({ name: "", by: "" }));
  const measures = segments("measure", MEASURES.map((one) => [one, one]), (measure) => address.change({ measure: measure === "avg" ? "" : measure }));
  const by = h("select", { "aria-label": "by label", change: () => address.change({ by: by.value }) });
  const filters = h("div", { class: "filters" }, name.node, measures.node, by);
  const chart = h("div", {});
  const list = h("div", {});
  root.append(h("h1", { class: "sr" }, "Metrics"), filters, chart, list);

  const common = () => ({ signal: "metric", project: asked.project, ...windowOf(asked) });

  function table(rows, key, title) {
    const cell = (values) => SHOWN.map((one) => h("td", { class: "n" }, one === "count" ? count(values[one]) : fine(values[one])));
    return h("div", { class: "list" }, h("table", { class: "rows figures-table", id: "metrics" },
      h("thead", {}, h("tr", {}, [title, ...SHOWN].map((text, i) => h("th", { scope: "col", class: i ? "n" : "" }, text)))),
      h("tbody", {}, rows.map(({ by: group, values }) => h("tr", {}, h("th", { scope: "row" }, asked.name ? group[key] ?? "(none)"
        : h("a", { href: address.link("metrics", { ...asked, name: group[key] }) }, group[key])), cell(values))))));
  }

  async function names() {
    chart.replaceChildren();
    list.replaceChildren(loading());
    const { rows } = await ask("figures", { ...common(), of: SHOWN, by: ["name"] }, "metrics");
    list.replaceChildren(rows.length ? table(rows, "name", "Metric") : empty("Nothing was measured in this time.", "Events of the type metric are shown here."));
  }

  async function labels() {
    const where = { field: "name", op: "eq", value: asked.name };
    const { values } = await ask("values", { what: "label_keys", project: asked.project, ...windowOf(asked), where }, "labels");
    by.replaceChildren(h("option", { value: "" }, "as a whole"), ...values.map((key) => h("option", { value: key }, `by ${key}`)));
    by.value = asked.by ?? "";
  }

  async function one() {
    list.replaceChildren(loading(4));
    const measure = asked.measure || "avg";
    const key = asked.by ? `label.${asked.by}` : "name";
    const every = interval(asked, POINTS);
    const shared = { ...common(), filters: { name: asked.name }, by: [key] };
    const [totals, series] = await Promise.all([
      ask("figures", { ...shared, of: SHOWN, order: "-count", limit: 100 }, "metrics"),
      ask("figures", { ...shared, of: [measure], every: every / 1000 }, "metric over time"),
      labels(),
    ]);
    if (!totals.rows.length) { chart.replaceChildren(); list.replaceChildren(empty("It was not measured in this time.")); return; }
    const groups = totals.rows.slice(0, MOST_SERIES).map((row) => row.by[key]);
    const drawn = groups.map((group) => ({
      name: group ?? "(none)", points: series.rows.filter((row) => row.by[key] === group).map((row) => [Date.parse(row.time), row.values[measure]]),
    }));
    const more = totals.rows.length > groups.length ? `, of the ${MOST_SERIES} most frequent` : "";
    chart.replaceChildren(h("figure", { class: "card tall" }, h("figcaption", {}, h("b", {}, asked.name), ` ${measure} over time${more}${series.truncated ? "; there are more points than can be shown: narrow it" : ""}`),
      lines(drawn, { label: `${asked.name}, ${measure}`, every, format: fine }), asked.by ? legend(drawn.map((each) => each.name)) : ""), h("p", {}));
    list.replaceChildren(table(totals.rows, key, asked.by || "Metric"));
  }

  async function start() {
    name.show(asked.name ?? "");
    measures.show((measure) => measure === (asked.measure || "avg"));
    filters.hidden = !asked.name;
    try {
      await (asked.name ? one() : names());
    } catch (error) {
      if (!isOver(error)) list.replaceChildren(failed(error, start));
    }
  }
  start();
  return { update(next) { asked = next.asked; start(); } };
}
