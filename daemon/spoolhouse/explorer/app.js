// The frame of the page: navigation, project, window, and how the daemon does. Views fill the rest.

import * as address from "./address.js";
import * as api from "./api.js";
import { h, span } from "./dom.js";
import { failed, nothingYet, segments } from "./parts.js";
import * as statusView from "./views/status.js";

const PERIOD_MS = 2000;
const TIMEOUT_MS = 5000;
const hasApi = api.serves("api");
const hasDaemon = api.serves("daemon");

const VIEWS = [
  ["traces", "Traces", () => import("./views/traces.js")],
  ["logs", "Logs", () => import("./views/logs.js")],
  ["cost", "Cost", () => import("./views/cost.js")],
  ["metrics", "Metrics", () => import("./views/metrics.js")],
  ["scores", "Scores", () => import("./views/scores.js")],
  ["runs", "Runs", () => import("./views/runs.js")],
  ["status", "Status", async () => statusView],
].filter(([name]) => (name === "status" ? hasDaemon : hasApi));
const DETAILS = { trace: ["traces", () => import("./views/trace.js")], run: ["runs", () => import("./views/run.js")] };
const WINDOWS = [["1h", "1 h"], ["24h", "24 h"], ["7d", "7 d"], ["30d", "30 d"]];

// Asks the daemon how it does, for every view.
const daemon = {
  status: null,
  watchers: new Set(),
  watch(show) {
    this.watchers.add(show);
    return () => this.watchers.delete(show);
  },
  async look() {
    try {
      const answer = await fetch("status", { headers: api.headers(), signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (answer.status === 401) { frame.state.textContent = ""; return; }
      if (!answer.ok) throw new Error(String(answer.status));
      this.status = await answer.json();
      showDaemon(this.status);
      this.watchers.forEach((show) => show(this.status));
    } catch {
      frame.state.textContent = "does not answer; what is shown is old";
      frame.state.className = "state bad";
      document.title = "Spoolhouse: does not answer";
    }
  },
  async keepLooking() {
    // One question at a time; none while nobody looks.
    if (!document.hidden) await this.look();
    setTimeout(() => this.keepLooking(), PERIOD_MS);
  },
};

function showDaemon(status) {
  const [text, className] = statusView.state(status);
  frame.state.textContent = text;
  frame.state.className = `state ${className}`;
  frame.state.title = statusView.who(status);
  frame.who.textContent = statusView.who(status) + (status.started_ms ? `, up ${span((status.at_ms - status.started_ms) / 1000)}` : "");
  frame.reasons.replaceChildren(...statusView.trouble(status));
  document.title = `Spoolhouse: ${text}`;
}

const frame = {
  state: h("a", { id: "state", class: "state", href: "#/status" }, hasDaemon ? "asking…" : ""),
  who: h("small", { id: "who" }),
  reasons: h("ul", { id: "reasons" }),
  nav: h("nav", { "aria-label": "views" }, VIEWS.map(([name, title]) => h("a", { "data-view": name }, title))),
  project: h("select", { "aria-label": "project", change: (event) => address.change({ project: event.target.value }) }),
  windows: segments("window", WINDOWS, (since) => address.change({ since, until: "" })),
  custom: h("span", { class: "custom" }),
  scope: h("div", { class: "scope", hidden: true }),
  main: h("main", { id: "main", tabindex: "-1" }),
};

frame.scope.append(frame.project, frame.custom, frame.windows.node);

let projects = null;
let finding = null;
let current = null;

function showNav(view, asked) {
  frame.nav.hidden = VIEWS.length === 1;
  const common = address.common(asked);
  for (const one of frame.nav.children) {
    one.href = address.link(one.dataset.view, common);
    if (one.dataset.view === view) one.setAttribute("aria-current", "page"); else one.removeAttribute("aria-current");
  }
}

function showScope(view, asked) {
  frame.scope.hidden = !hasApi || view === "status";
  const names = [...new Set([...(projects ?? []), asked.project])].filter(Boolean).sort();
  if ([...frame.project.options].map((one) => one.value).join("\n") !== names.join("\n")) {
    frame.project.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
  }
  frame.project.value = asked.project ?? "";
  const chosen = asked.until ? "" : asked.since ?? "24h";
  frame.windows.show((value) => value === chosen);
  const minutes = (time) => time?.slice(0, 16).replace("T", " ");
  frame.custom.textContent = asked.until ? `${minutes(asked.since)} – ${minutes(asked.until)} UTC` : "";
}

async function show() {
  const { view: name, id, asked } = address.read();
  if (asked.token) {
    // `spoolhouse serve` prints such an address; the token stays in this tab, and leaves the address.
    api.setToken(asked.token);
    address.change({ token: "" }, { quietly: true });
    return;
  }
  const known = VIEWS.some(([one]) => one === name) || name in DETAILS;
  const view = known ? name : VIEWS[0][0];
  const tab = DETAILS[view]?.[0] ?? view;
  document.body.dataset.view = view;
  showNav(tab, asked);
  if (hasApi && view !== "status" && !asked.project) {
    const before = location.hash;
    const error = await findProjects();
    if (location.hash !== before) return;
    if (projects?.length) address.change({ project: recall(projects) }, { quietly: true });
    else showNothing(error);
    return;
  }
  showScope(view, asked);
  if (hasApi && projects === null) findProjects().then(() => showScope(view, address.read().asked));
  if (asked.project) localStorage.setItem("spoolhouse-project", asked.project);
  const given = { id, asked, daemon };
  if (current?.view === view && current.id === id && current.shown.update) {
    current.shown.update(given);
    return;
  }
  current?.shown.leave?.();
  const entry = { view, id, shown: {} };
  current = entry;
  const module = await (DETAILS[view]?.[1] ?? VIEWS.find(([one]) => one === view)[2])();
  if (current !== entry) return;
  const root = h("div", { class: `view ${view}` });
  frame.main.replaceChildren(root);
  entry.shown = module.mount(root, given) ?? {};
}

function recall(names) {
  const last = localStorage.getItem("spoolhouse-project");
  return names.includes(last) ? last : names[0];
}

// Asked once, whoever waits for it; again where there was no answer, or nothing had landed. Returns why there is none.
function findProjects() {
  finding ??= api.projects().then((found) => { projects = found; return null; }, (error) => error)
    .finally(() => { if (!projects?.length) finding = null; });
  return finding;
}

function showNothing(error) {
  current?.shown.leave?.();
  current = null;
  frame.scope.hidden = true;
  frame.main.replaceChildren(error ? failed(error, show) : nothingYet());
  if (!error) setTimeout(() => { if (current === null) show(); }, PERIOD_MS);
}

addEventListener("keydown", (event) => {
  const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "/" && !isTyping) {
    const field = document.querySelector("[data-search]");
    if (field) { event.preventDefault(); field.focus(); field.select(); }
  } else if (event.key === "Escape" && isTyping) event.target.blur();
});
addEventListener("hashchange", show);

document.body.replaceChildren(
  h("a", { class: "skip", href: "#main", click: (event) => { event.preventDefault(); frame.main.focus(); } }, "Skip to the content"),
  h("header", {}, h("a", { class: "name", href: "#/" }, h("i", { "aria-hidden": "true" }), "Spoolhouse"), frame.nav, frame.scope, h("span", { class: "state-of", role: "status" }, frame.state)),
  h("section", { "aria-label": "what waits" }, frame.reasons), frame.main, h("footer", { class: "foot" }, frame.who));
show();
if (hasDaemon) {
  document.addEventListener("visibilitychange", () => { if (!document.hidden) daemon.look(); });
  daemon.keepLooking();
}
