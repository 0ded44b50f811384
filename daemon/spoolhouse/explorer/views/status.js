// The daemon: what waits and why, rates, types, the last files, the last rejected lines.

import { bytes, clock, count, counted, h, span } from "../dom.js";
import { draw } from "../dom.js";
import { headers, serves } from "../api.js";
import { roundUp } from "../chart.js";
import { empty } from "../parts.js";

const SHOWN = 10;
const NAMES = 6;

export function who(status) {
  const process = status.host && `${status.host}, process ${status.pid}`;
  return [status.spool, process, status.version].filter(Boolean).join(" · ");
}

export function state(status) {
  if (status.state === "silent") return ["does not answer", "bad"];
  if (!status.liveness.alive) return [`stuck: ${Object.keys(status.liveness.stuck).join(", ")}`, "bad"];
  const reasons = status.readiness.reasons.filter((reason) => reason.types.length);
  if (reasons.some((reason) => reason.held)) return ["held: waits for a person", "bad"];
  if (reasons.length) return ["waits", "wait"];
  if (status.paused !== null) return [`paused ${status.paused}`, "wait"];
  return [status.readiness.state, status.readiness.ready ? "good" : "wait"];
}

// What all types wait for is said once, and not with each type.
function ofAll(status, reason) {
  return reason.types.length >= status.types.length;
}

// Shown above every view while something is wrong: what, since when, and that nothing is lost.
export function trouble(status) {
  const reasons = status.readiness.reasons;
  if (!reasons.length) return [];
  const { backlog } = status;
  const pending = backlog ? backlog.pending_files + backlog.claimed_files : 0;
  const safe = `Nothing is lost: ${pending ? `${counted(pending, "file")} (${bytes(backlog.pending_bytes)} not yet claimed) wait` : "what is dropped waits"} in the spool, and land once it is over.`;
  return reasons.map((reason) => {
    const more = [
      reason.summary.includes(reason.error) ? "" : reason.error,
      ofAll(status, reason) || !reason.types.length ? "" : reason.types.join(", "),
      reason.hint ?? "",
    ].filter(Boolean).join("; ");
    const since = clock(status.at_ms - reason.seconds * 1000);
    return h("li", { class: reason.held ? "held" : "" }, h("strong", {}, reason.summary), " ",
      h("span", { class: "since" }, `for ${span(reason.seconds)}, since ${since}`), more && h("small", {}, more),
      reason.types.length ? h("small", { class: "safe" }, safe) : null);
  });
}

function cells(status) {
  const { backlog, rates } = status;
  const sum = (values) => Object.values(values).reduce((a, b) => a + b, 0);
  const found = [
    ["rows a second", count(rates.rows), `${bytes(rates.bytes)}/s`],
    ["pending", counted(backlog.pending_files, "file"), bytes(backlog.pending_bytes)],
    ["oldest pending", backlog.pending_files ? span(backlog.oldest_seconds) : "none", ""],
    ["on the way", counted(backlog.claimed_files, "file"), counted(backlog.shipments, "shipment")],
    ["files done", count(sum(status.files)), bytes(status.bytes)],
    ["lines rejected", count(sum(status.rejects)), status.files.failed ? `${counted(status.files.failed, "file")} failed` : ""],
    ["attempts repeated", count(sum(status.retries)), Object.keys(status.retries).join(", ")],
  ];
  if (backlog.not_taken_files) {
    found.push(["not taken", counted(backlog.not_taken_files, "file"), backlog.not_taken.join("; ")]);
  }
  const servers = Object.entries(status.servers);
  if (servers.length) {
    const away = servers.filter(([, answers]) => !answers).map(([name]) => name);
    found.push(["servers", `${servers.length - away.length} of ${servers.length}`, away.length ? `away: ${away.join(", ")}` : ""]);
  }
  return found.map(([name, value, more]) => h("div", {}, h("dt", {}, name), h("dd", {}, value, h("small", {}, more))));
}

function chart(id, points, values, label) {
  const top = roundUp(Math.max(2, ...values));
  const step = values.length > 1 ? 600 / (values.length - 1) : 0;
  const drawn = values.map((value, i) => `${(i * step).toFixed(1)},${(100 - (value / top) * 100).toFixed(1)}`).join("L");
  const known = points.length >= 2;
  const plot = draw("svg", { id, viewBox: "0 0 600 100", preserveAspectRatio: "none", role: "img", "aria-label": label },
    draw("path", { d: "M0,0L600,0M0,50L600,50", class: "grid" }),
    known && draw("path", { d: `M${drawn}L600,100L0,100Z`, class: "area" }), known && draw("path", { d: `M${drawn}`, class: "line" }));
  const axis = (name, texts) => h("div", { class: `axis ${name}` }, texts.map((text) => h("span", {}, text)));
  return h("figure", { class: "card" }, h("figcaption", {}, label), h("div", { class: "plot" },
    axis("y", [count(top), count(top / 2), "0"]), plot,
    axis("x", known ? [clock(points[0].at_ms), clock(points.at(-1).at_ms)] : [])));
}

// A head with # is of figures, one with ~ of what may be long.
function table(id, heads, rows, className = "") {
  const kind = (head) => (head.startsWith("#") ? "n" : head.startsWith("~") ? "long" : "");
  const name = (head) => head.replace(/[#~]/, "");
  const row = (one) => h("tr", {}, one.map((cell, i) => h("td", { class: kind(heads[i]), "data-of": heads[i] === "#size" ? "" : heads[i].slice(1) }, cell)));
  return h("div", { class: "scroll" }, h("table", { id, class: className },
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", { class: kind(head), scope: "col" }, name(head))))),
    h("tbody", {}, rows.length ? rows.map(row) : row(["none yet"]))));
}

// Lines that are not written as declared, by field, and those of foreign shapes.
function notes(type) {
  const names = (counts) => {
    const all = Object.entries(counts).map(([name, number]) => `${name} ${count(number)}`);
    return all.slice(0, NAMES).join(", ") + (all.length > NAMES ? `, and ${all.length - NAMES} more` : "");
  };
  return [
    type.unknown_lines ? `unknown fields in ${counted(type.unknown_lines, "line")}: ${names(type.unknown)}` : "",
    type.converted_lines ? `converted in ${counted(type.converted_lines, "line")}: ${names(type.converted)}` : "",
    Object.keys(type.shapes).length ? `as others write: ${names(type.shapes)}` : "",
  ].filter(Boolean).join("; ");
}

// How the last rejected lines begin, from the daemon that has them, for the holder of its token.
async function textsOf(status) {
  if (!serves("metrics") || !serves("token") || !status.recent_rejects.length) return new Map();
  const answer = await fetch("rejects", { headers: headers() }).catch(() => null);
  const found = answer?.ok ? await answer.json() : [];
  return new Map(found.map((one) => [place(one), one.text]));
}

const place = ({ file, line }) => `${file}:${line}`;

function tables(status, texts) {
  const own = status.readiness.reasons.filter((reason) => !ofAll(status, reason));
  const waits = (type) => own.some((reason) => reason.types.includes(type.type));
  return [
    h("h2", {}, "Types"),
    table("types", ["~type", "#landed", "#rejected", "#files", "~notes"], status.types.map((type) => [
      h("span", {}, type.type, waits(type) && h("small", { class: "wait" }, " waits")), count(type.landed), count(type.rejected),
      count(type.files), notes(type),
    ])),
    h("h2", {}, "Last files"),
    table("files", ["done", "~file", "#rows", "#rejected", "#size"], status.recent_files.slice(0, SHOWN).map((file) => [
      clock(file.at_ms), file.failure ? `${file.path}: ${file.failure}` : file.path,
      count(file.rows), count(file.rejected), bytes(file.bytes),
    ]), "entries"),
    h("h2", {}, "Last rejected lines"),
    table("rejects", ["when", "~line", "reason", "~why"], status.recent_rejects.slice(0, SHOWN).map((reject) => [
      clock(reject.at_ms), place(reject), reject.reason,
      [reject.field ? `${reject.field}: ${reject.detail}` : reject.detail, texts.has(place(reject)) && h("pre", {}, texts.get(place(reject)))],
    ]), "entries"),
  ];
}

export function mount(root, { daemon }) {
  let texts = new Map();
  let known = null;
  const show = async (status) => {
    if (status === null) return;
    const sum = JSON.stringify(status.rejects);
    if (sum !== known) { known = sum; texts = await textsOf(status); }
    if (!status.backlog) {
      root.replaceChildren(h("h1", { class: "sr" }, "Status"), empty(status.readiness.reasons[0].summary, status.why));
      return;
    }
    const points = status.history;
    root.replaceChildren(
      h("h1", { class: "sr" }, "Status"), h("dl", { id: "figures", class: "figures" }, cells(status)),
      h("div", { class: "charts" },
        chart("rows-chart", points, points.map((point) => point.rows), "rows a second"),
        chart("pending-chart", points, points.map((point) => point.pending_files), "pending files")),
      // A token for some projects gets no types: files, lines and fields are of all projects.
      ...(status.types.length ? tables(status, texts) : []),
      h("footer", {}, "Since the start of the daemon's process. ", serves("metrics") && ["The same for programs: ",
        ["status", "metrics", "readyz", "livez"].map((path) => [h("a", { href: path }, `/${path}`), " "])]));
  };
  show(daemon.status);
  return { leave: daemon.watch(show) };
}
