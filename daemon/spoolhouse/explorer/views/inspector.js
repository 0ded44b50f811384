// All about one span: its error first, then times, what went in and came out, attributes, events, logs, judgements.

import * as address from "../address.js";
import { clockMs, count, duration, full, h, money } from "../dom.js";
import { judging } from "../judge.js";
import { badge, content, copyable, long, section, tree } from "../parts.js";

const INPUTS = ["input", "input.value", "gen_ai.input.messages", "gen_ai.prompt", "args", "arguments"];
const OUTPUTS = ["output", "output.value", "gen_ai.output.messages", "gen_ai.completion", "result"];
const MOST_LOGS = 200;
const MOST_JUDGED = 50;

const first = (object, keys) => keys.map((key) => object?.[key]).find((value) => value !== undefined && value !== null);

function errorOf(span) {
  const event = (Array.isArray(span.events) ? span.events : []).find((one) => /exception|error/i.test(one?.name ?? ""));
  const inner = event?.attributes ?? {};
  const given = first(span.attributes, ["error", "errorInfo", "error_info", "exception"]) ?? first(span.extra, ["error", "errorInfo"]);
  const message = inner["exception.message"] ?? inner.message ?? (typeof given === "string" ? given : given?.message)
    ?? first(span.attributes, ["error.message", "exception.message", "status_message", "statusMessage"]) ?? first(span.extra, ["status_message", "statusMessage"]);
  if (message === undefined && span.status !== "error") return null;
  return {
    type: inner["exception.type"] ?? first(span.attributes, ["error.type", "exception.type"]) ?? given?.type ?? given?.name ?? "",
    message: message === undefined ? (given ? JSON.stringify(given) : "It failed; no message was written.") : String(message),
    stack: inner["exception.stacktrace"] ?? given?.stack ?? "",
  };
}

function facts(rows) {
  const known = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "facts" }, known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function link(view, span) {
  const trace = view.trace?.trace_id ?? view.spans[0].trace_id;
  return new URL(address.link("trace", { ...address.read().asked, span }, trace), location.href).href;
}

function times(view, node, all) {
  const { span } = node;
  const share = (ms) => (all.to > all.from ? ` (${count((ms / (all.to - all.from)) * 100)} %)` : "");
  return facts([
    ["took", h("b", { id: "span-took" }, duration(node.long), share(node.long))],
    ["itself", `${duration(node.own)}${share(node.own)}`],
    ["the end waited for it", node.critical ? `${duration(node.critical)}${share(node.critical)}` : null],
    ["started", `${clockMs(span.start_time)}, +${duration(node.from - all.from)}`],
    ["kind", [span.kind, span.span_type].filter(Boolean).join(", ")],
    ["model", [span.model, span.provider].filter(Boolean).join(", ")],
    ["tokens", span.input_tokens === null && span.output_tokens === null ? null : `${count(span.input_tokens ?? 0)} in, ${count(span.output_tokens ?? 0)} out`],
    ["cost", span.cost_usd === null ? null : money(span.cost_usd)],
    ["deployment", span.deployment_id],
    ["span", [copyable(span.span_id), " ", copyable(link(view, node.id), "copy the link")]],
  ]);
}

function logs(view, node, from) {
  if (!view.logs.length) return null;
  // Those of the span and around it: the span's own are marked.
  const near = [...view.logs].sort((a, b) => Date.parse(a.timestamp) - Date.parse(b.timestamp)).slice(0, MOST_LOGS);
  const own = near.filter((one) => node && one.span_id === node.id).length;
  return section("Logs", h("ol", { class: "log-lines" }, near.map((one) => h("li", { class: node && one.span_id === node.id ? "own" : "" },
    h("time", { title: full(one.timestamp) }, `+${duration(Date.parse(one.timestamp) - from)}`), h("span", { class: `level ${one.level}` }, one.level), h("span", { class: "text" }, long(one.message))))),
  { note: node ? `${own} of this span, ${view.logs.length} of the trace` : String(view.logs.length) });
}

function judgements(view, node) {
  const own = (one) => Boolean(node) && one.span_id === node.id;
  const all = [
    ...view.feedback.map((one) => [own(one), one.feedback_type, one.value, one.comment, [one.source, one.user_id].filter(Boolean).join(" · ")]),
    ...view.scores.map((one) => [own(one), one.name, one.value, one.comment, one.experiment]),
  ].sort((a, b) => b[0] - a[0]).slice(0, MOST_JUDGED);
  if (!all.length) return null;
  const owned = all.filter(([isOwn]) => isOwn).length;
  return section("Scores and feedback", h("ul", { class: "judged" }, all.map(([isOwn, name, value, comment, who]) => h("li", { class: isOwn ? "own" : "" },
    h("b", {}, String(value)), " ", name, who && h("small", {}, ` ${who}`), comment && h("p", { class: "text" }, comment)))),
  { note: node ? `${owned} of this span, ${view.feedback.length + view.scores.length} of the trace` : String(all.length) });
}

// What was judged, and a form to add to it.
function judged(view, node) {
  const { scores, feedback, trace, spans } = view;
  const shown = h("div", {}, judgements(view, node) ?? "");
  const about = { project: address.read().asked.project, trace: trace?.trace_id ?? spans[0]?.trace_id, span: node?.id };
  const form = judging(about, (route, record) => {
    (route === "scores" ? scores : feedback).push(record);
    shown.replaceChildren(judgements(view, node));
  });
  return h("div", {}, shown, form);
}

function events(span, from) {
  const all = Array.isArray(span.events) ? span.events : [];
  if (!all.length) return null;
  return section("Events", h("ol", { class: "events" }, all.map((one) => {
    const at = Date.parse(one?.timestamp ?? one?.time ?? "");
    return h("li", {}, h("b", {}, String(one?.name ?? "event")), !Number.isNaN(at) && h("small", {}, ` +${duration(at - from)}`), tree(one?.attributes ?? one));
  })), { note: String(all.length) });
}

const payload = (title, value) => (value === undefined || value === null ? null : section(title, content(value)));

export function inspector(view, all, node) {
  const { trace } = view;
  const isRoot = node && !node.parent;
  const parts = [];
  if (node) {
    const { span } = node;
    const error = errorOf(span);
    const { input, output, ...rest } = span.attributes ?? {};
    parts.push(
      h("div", { class: "span-head" }, h("h2", { id: "span-name" }, span.name || "(no name)"), badge(span.status)),
      error && h("div", { class: "fault", role: "note" }, h("b", {}, error.type || "error"), h("p", { id: "span-error", class: "text" }, error.message),
        error.stack && h("details", {}, h("summary", {}, "stack"), h("pre", {}, error.stack))),
      times(view, node, all),
      payload("Input", first(span.attributes, INPUTS)), payload("Output", first(span.attributes, OUTPUTS)),
      isRoot && trace ? payload("Input of the trace", trace.input) : null, isRoot && trace ? payload("Output of the trace", trace.output) : null,
      span.status === "error" ? logs(view, node, all.from) : null,
      judged(view, node),
      Object.keys(rest).length ? section("Attributes", tree(rest), { note: String(Object.keys(rest).length) }) : null,
      events(span, all.from),
      span.status === "error" ? null : logs(view, node, all.from),
      Object.keys(span.extra ?? {}).length ? section("Other fields", tree(span.extra)) : null,
    );
  } else if (trace) parts.push(payload("Input of the trace", trace.input), payload("Output of the trace", trace.output), judged(view, null), logs(view, null, Date.parse(trace.start_time)));
  if (trace?.metadata && (isRoot || !node)) parts.push(section("Metadata of the trace", tree(trace.metadata)));
  const target = address.link("logs", { project: address.read().asked.project, trace: trace?.trace_id ?? view.spans[0]?.trace_id, since: "90d" });
  if (view.logs.length > MOST_LOGS) parts.push(h("a", { href: target }, `all ${count(view.logs.length)} log lines`));
  return parts.filter(Boolean);
}
