// One trace: a waterfall of its spans, and beside it all about the one that is chosen.

import * as address from "../address.js";
import { ask, isOver } from "../api.js";
import { counted, duration, full, h, money, short } from "../dom.js";
import { badge, copyable, empty, failed, loading } from "../parts.js";
import { arrange, gaps, suspect } from "../spans.js";
import { inspector } from "./inspector.js";

const ROW = 26;
const TICKS = 5;
const BEYOND = 10;

export function mount(root, given) {
  let asked = given.asked;
  let waterfall = null;

  // What is too much for one answer is asked for in parts: the spans first, and the texts of one when it is chosen.
  async function found() {
    const asking = { project: asked.project, trace_id: given.id };
    try {
      return await ask("trace", asking);
    } catch (error) {
      if (error.status !== 504) throw error;
    }
    const { spans } = await ask("structure", asking);
    const fill = async (span) => Object.assign(span, (await ask("trace/spans", { ...asking, span_ids: [span.span_id] })).spans[0]);
    return { trace: null, spans, logs: [], scores: [], feedback: [], truncated: false, fill };
  }

  async function load() {
    root.replaceChildren(loading(14));
    try {
      waterfall = show(root, await found(), given.id, () => asked);
      waterfall?.choose(asked.span, { quietly: true });
    } catch (error) {
      if (isOver(error)) return;
      root.replaceChildren(error.status === 404
        ? empty("There is no such trace in this project.", h("a", { href: address.link("traces", address.common(asked)) }, "All traces"))
        : failed(error, load));
    }
  }
  load();
  return { update(next) { asked = next.asked; waterfall?.choose(asked.span, { quietly: true }); }, leave() { waterfall?.leave(); } };
}

function show(root, view, id, asked) {
  const tree = arrange(view.spans);
  const side = h("aside", { class: "inspector", "aria-label": "span" });
  root.replaceChildren(head(view, tree, id, asked));
  if (view.truncated) root.append(h("p", { class: "note" }, "This trace has more than 10,000 spans or logs: the first are shown."));
  if (!tree.all.length) {
    root.append(h("div", { class: "split" }, empty("This trace has no spans (yet)."), side));
    side.replaceChildren(...inspector(view, tree, null));
    return null;
  }
  if (view.fill) {
    root.append(h("p", { class: "note" }, "All of this trace is too much for one answer. The texts of a span come when it is chosen; its log lines are among ",
      h("a", { href: address.link("logs", { project: asked().project, trace: id, since: "90d" }) }, "the logs"), "."));
  }
  const inspect = (node) => {
    side.replaceChildren(...inspector(view, tree, node));
    side.scrollTop = 0;
  };
  const found = new Waterfall(tree, view, (node) => {
    inspect(node);
    address.change({ span: node.id }, { quietly: true });
    if (!view.fill || node.isFull) return;
    view.fill(node.span).then(() => { node.isFull = true; if (found.chosen === node) inspect(node); },
      (error) => { if (!isOver(error)) side.append(failed(error, () => inspect(node))); });
  });
  root.append(h("div", { class: "split" }, found.node, side));
  const first = asked().span && tree.nodes.get(asked().span) ? asked().span : suspect(tree).id;
  found.choose(first, { quietly: true });
  found.draw();
  found.node.querySelector("[role=tree]").focus({ preventScroll: true });
  return found;
}

function head(view, tree, id, asked) {
  const { trace } = view;
  const errors = view.spans.filter((span) => span.status === "error").length;
  const sum = (name) => view.spans.reduce((all, span) => all + (span[name] ?? 0), 0);
  const [cost, tokens] = [sum("cost_usd"), sum("input_tokens") + sum("output_tokens")];
  const logsTarget = address.link("logs", { project: asked().project, trace: id, since: "90d" });
  return h("div", { class: "head" },
    h("a", { class: "back", href: address.link("traces", address.common(asked())), "aria-label": "all traces" }),
    h("h1", {}, trace?.name ?? tree.roots[0]?.span.name ?? "trace"), trace && badge(trace.status),
    h("b", { id: "took" }, duration(trace?.duration_ms ?? tree.to - tree.from)),
    h("span", { class: "soft" }, full(trace?.start_time ?? tree.from)),
    h("span", {}, counted(view.spans.length, "span")), errors > 0 && h("span", { class: "bad" }, `${errors} failed`),
    view.logs.length > 0 && h("a", { href: logsTarget }, counted(view.logs.length, "log line")),
    tokens > 0 && h("span", {}, `${short(tokens)} tokens`), cost > 0 && h("span", {}, money(cost)),
    copyable(id));
}

class Waterfall {
  constructor(tree, view, chosen) {
    this.tree = tree;
    this.onChosen = chosen;
    this.folded = new Set();
    this.chosen = null;
    this.long = Math.max(tree.to - tree.from, 1);
    this.notes = new Map();
    for (const one of [...view.scores, ...view.feedback]) this.notes.set(one.span_id, (this.notes.get(one.span_id) ?? 0) + 1);
    this.spacer = h("div", { class: "spacer" });
    this.rows = h("div", { class: "lines" });
    this.body = h("div", { class: "body", role: "tree", tabindex: "0", "aria-label": "spans", keydown: (event) => this.key(event), scroll: () => this.later() }, this.spacer, this.rows);
    this.node = h("div", { class: "waterfall" }, this.axis(), this.body);
    this.frame = 0;
    this.observer = new ResizeObserver(() => this.later());
    this.observer.observe(this.body);
    this.list();
  }

  leave() { this.observer.disconnect(); }

  axis() {
    const times = Array.from({ length: TICKS }, (_, i) => h("span", { style: { left: `${(i / TICKS) * 100}%` } }, duration((this.long * i) / TICKS)));
    const all = h("button", { class: "all", title: "fold or unfold all", "aria-label": "fold or unfold all spans", click: () => this.foldAll() }, "+/–");
    return h("div", { class: "axis-row" }, h("div", { class: "names" }, all, h("span", { class: "key" }, h("i", { class: "critical" }), "critical path"),
      h("span", { class: "key wide" }, h("i", { class: "gap" }), "own time")), h("div", { class: "times" }, times));
  }

  // Those that are to be seen, unless they are scrolled away.
  list() {
    this.shown = [];
    const stack = [...this.tree.roots].reverse();
    while (stack.length) {
      const node = stack.pop();
      this.shown.push(node);
      if (!this.folded.has(node.id)) for (let i = node.children.length - 1; i >= 0; i -= 1) stack.push(node.children[i]);
    }
    this.spacer.style.setProperty("height", `${this.shown.length * ROW}px`);
    this.node.style.setProperty("--rows", this.shown.length);
  }

  later() {
    if (this.frame) return;
    // Lines that are there stay as they are: a click on one that is drawn anew between press and release would be lost.
    this.frame = requestAnimationFrame(() => { this.frame = 0; if (String(this.range()) !== this.drawn) this.draw(); });
  }

  // Which of the lines are to be drawn.
  range() {
    const { scrollTop, clientHeight } = this.body;
    return [Math.max(0, Math.floor(scrollTop / ROW) - BEYOND), Math.min(this.shown.length, Math.ceil((scrollTop + clientHeight) / ROW) + BEYOND)];
  }

  draw() {
    const [first, last] = this.range();
    this.drawn = String([first, last]);
    this.rows.style.setProperty("transform", `translateY(${first * ROW}px)`);
    this.rows.replaceChildren(...this.shown.slice(first, last).map((node) => this.line(node)));
    if (this.chosen) this.body.setAttribute("aria-activedescendant", `s-${this.chosen.id}`);
  }

  line(node) {
    const { span } = node;
    const at = (ms) => `${((ms - this.tree.from) / this.long) * 100}%`;
    const wide = (ms) => `${(ms / this.long) * 100}%`;
    const isOpen = !this.folded.has(node.id);
    const fold = node.children.length
      ? h("button", { class: isOpen ? "fold open" : "fold", tabindex: "-1", "aria-hidden": "true", click: (event) => { event.stopPropagation(); this.toggle(node); } })
      : h("i", { class: "fold" });
    const own = gaps(node).map(([from, to]) => h("i", { class: "self", style: node.long
      ? { left: `${((from - node.from) / node.long) * 100}%`, width: `${((to - from) / node.long) * 100}%` } : { left: "0", width: "100%" } }));
    const isLate = (node.from - this.tree.from) / this.long > 0.75;
    return h("div", {
      class: ["line", span.status === "error" ? "error" : "", node.isCritical ? "critical" : "", node === this.chosen ? "chosen" : ""].join(" "),
      role: "treeitem", id: `s-${node.id}`, "aria-level": node.depth + 1, "aria-selected": String(node === this.chosen),
      "aria-expanded": node.children.length ? String(isOpen) : null, "data-id": node.id,
      "aria-label": `${span.name}, ${duration(node.long)}${span.status === "error" ? ", failed" : ""}`,
      click: () => this.choose(node.id),
    },
    h("div", { class: "names" }, h("span", { class: "indent", style: { width: `${Math.min(node.depth, 24) * 14}px` } }), fold,
      h("span", { class: "title" }, span.name || "(no name)"), !isOpen && h("small", {}, `+${this.below(node)}`),
      span.span_type ? h("small", { class: "type" }, span.span_type) : "", this.notes.has(node.id) && h("i", { class: "noted", title: "scores and feedback" })),
    h("div", { class: "times" }, h("div", { class: `span ${kindOf(span)}`, style: { left: at(node.from), width: wide(node.long) } }, own),
      h("span", { class: "took", style: isLate ? { right: `${100 - ((node.from - this.tree.from) / this.long) * 100}%` } : { left: at(node.from + node.long) } }, duration(node.long))));
  }

  below(node) {
    let found = 0;
    const stack = [...node.children];
    while (stack.length) { found += 1; stack.push(...stack.pop().children); }
    return found;
  }

  toggle(node, isOpen = this.folded.has(node.id)) {
    if (isOpen) this.folded.delete(node.id); else this.folded.add(node.id);
    this.list();
    this.draw();
  }

  foldAll() {
    const inner = this.tree.all.filter((node) => node.children.length && node.depth > 0);
    if (this.folded.size) this.folded.clear(); else inner.forEach((node) => this.folded.add(node.id));
    this.list();
    this.draw();
  }

  choose(id, { quietly = false } = {}) {
    const node = this.tree.nodes.get(id);
    if (!node || node === this.chosen) return;
    for (let up = node.parent; up; up = up.parent) this.folded.delete(up.id);
    this.chosen = node;
    this.list();
    this.reveal();
    this.draw();
    this.onChosen(node, quietly);
  }

  reveal() {
    const top = this.shown.indexOf(this.chosen) * ROW;
    const { scrollTop, clientHeight } = this.body;
    if (top < scrollTop) this.body.scrollTop = top;
    else if (clientHeight && top + ROW > scrollTop + clientHeight) this.body.scrollTop = top + ROW - clientHeight;
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const at = this.shown.indexOf(this.chosen);
    const page = Math.max(1, Math.floor(this.body.clientHeight / ROW) - 1);
    const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (step !== undefined) {
      event.preventDefault();
      const to = Math.min(this.shown.length - 1, Math.max(0, at + step));
      this.choose(this.shown[to].id);
    } else if (event.key === "ArrowRight" || event.key === "l") {
      event.preventDefault();
      if (this.folded.has(this.chosen.id)) this.toggle(this.chosen, true);
      else if (this.chosen.children.length) this.choose(this.chosen.children[0].id);
    } else if (event.key === "ArrowLeft" || event.key === "h") {
      event.preventDefault();
      if (this.chosen.children.length && !this.folded.has(this.chosen.id)) this.toggle(this.chosen, false);
      else if (this.chosen.parent) this.choose(this.chosen.parent.id);
    } else if (event.key === "e") {
      const failedNodes = this.tree.all.filter((node) => node.span.status === "error");
      const next = failedNodes[(failedNodes.indexOf(this.chosen) + 1) % failedNodes.length];
      if (next) this.choose(next.id);
    } else if (event.key === "c") {
      const way = this.tree.all.filter((node) => node.isCritical).sort((a, b) => b.critical - a.critical);
      const next = way[(way.indexOf(this.chosen) + 1) % way.length];
      if (next) this.choose(next.id);
    }
  }
}

function kindOf(span) {
  const text = `${span.span_type} ${span.kind}`.toLowerCase();
  if (span.model || /model|llm|generation/.test(text)) return "model";
  if (/tool|mcp/.test(text)) return "tool";
  if (/agent|workflow/.test(text)) return "agent";
  if (/client|producer/.test(text)) return "client";
  return "other";
}
