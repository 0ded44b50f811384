// The runs of agents, the latest first.

import * as address from "../address.js";
import { ask, isOver } from "../api.js";
import { count, duration, full, h, money, short, when } from "../dom.js";
import { empty, failed, loading } from "../parts.js";
import { windowOf } from "../window.js";

const MOST = 200;

export function mount(root, given) {
  let asked = given.asked;
  const list = h("div", { class: "list" });
  root.append(h("h1", { class: "sr" }, "Runs of agents"), list);

  async function load() {
    list.replaceChildren(loading());
    try {
      const { runs } = await ask("runs", { project: asked.project, ...windowOf(asked), limit: MOST });
      list.replaceChildren(runs.length ? table(runs) : empty("No agent ran in this time.", "Events with a run_id, such as prompt_call and agent_step, are listed here by run."));
      if (runs.length === MOST) list.append(h("p", { class: "soft" }, `The latest ${MOST} are shown: narrow the time for others.`));
    } catch (error) {
      if (!isOver(error)) list.replaceChildren(failed(error, load));
    }
  }

  function table(runs) {
    const heads = ["Start", "Run", "Took", "Events", "Failed", "Model calls", "Tokens in", "out", "Cost", "Models"];
    return h("table", { class: "rows figures-table", id: "runs" },
      h("thead", {}, h("tr", {}, heads.map((text, i) => h("th", { scope: "col", class: i > 1 && i < 9 ? "n" : "" }, text)))),
      h("tbody", {}, runs.map((one) => {
        const target = address.link("run", address.common(asked), one.run_id);
        const cell = (text, className = "n") => h("td", { class: className }, text);
        return h("tr", { "data-id": one.run_id, click: (event) => { if (!event.target.closest("a")) location.hash = target; } },
          h("td", { title: full(one.start_time) }, when(one.start_time)), h("td", { class: "name" }, h("a", { href: target }, one.run_id)),
          cell(duration(Date.parse(one.end_time) - Date.parse(one.start_time))), cell(count(one.events)),
          cell(count(one.errors), one.errors ? "n bad" : "n"), cell(count(one.model_calls)), cell(short(one.tokens_input)), cell(short(one.tokens_output)),
          cell(money(one.cost_usd)), cell(one.models.join(", "), "preview"));
      })));
  }
  load();
  return { update(next) { asked = next.asked; load(); } };
}
