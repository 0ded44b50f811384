// A form to add a score or feedback. It is written into the spool; the form says when it is there, and when it has landed.

import { ask, isOver, serves } from "./api.js";
import { h } from "./dom.js";
import { iso } from "./window.js";

const WHO = "spoolhouse-who";
const ATTEMPTS = 2;
const AGAIN_MS = [500, 1000, 2000, 5000];
const NEAR_MS = 1000;
const KINDS = {
  feedback: { route: "feedback", name: "Type", hint: "comment, rating, …", of: "feedbackType" },
  score: { route: "scores", name: "Name", hint: "helpfulness, …", of: "name" },
};

const newId = () => [...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16).padStart(2, "0")).join("");
const sleep = (ms) => new Promise((go) => setTimeout(go, ms));

let made = 0;

// `about` has the project, and may have a trace and a span; without a trace the form asks for one. `landed` gets the
// route and the record.
export function judging(about, landed) {
  if (!serves("write")) {
    return h("p", { class: "judging soft" }, "Scores and feedback cannot be added here: this server knows no spool (", h("code", {}, "spoolhouse serve --file-storage-path"), ").");
  }
  const own = `judge${made += 1}`;
  const field = (name, text, properties = {}, element = "input") => {
    const input = h(element, { id: `${own}-${name}`, name, autocomplete: "off", ...properties });
    return { input, node: h("label", { for: input.id }, h("span", {}, text), input) };
  };
  const kind = field("kind", "Kind", { change: show }, "select");
  kind.input.append(h("option", { value: "feedback" }, "feedback"), h("option", { value: "score" }, "score"));
  const name = field("name", "Type", { required: true });
  const value = field("value", "Value", { required: true });
  const comment = field("comment", "Comment", { rows: "2" }, "textarea");
  const trace = field("trace", "Trace (may be empty)", { spellcheck: "false" });
  const who = field("who", "Your name (may be empty)", { value: localStorage.getItem(WHO) ?? "" });
  const send = h("button", { type: "submit" }, "Save");
  const state = h("p", { class: "judge-state", role: "status" });
  const wrong = h("p", { class: "bad", role: "alert" });
  const form = h("form", { class: "judge", hidden: true, submit, "aria-label": "add a score or feedback" },
    [kind, name, value, who, !about.trace && trace, comment].filter(Boolean).map((one) => one.node), h("div", {}, send), wrong);
  const open = h("button", { class: "next add", "aria-expanded": "false", click: () => turn(form.hidden) }, "Add a score or feedback");
  form.addEventListener("keydown", (event) => { if (event.key === "Escape") { turn(false); open.focus(); } });

  function turn(isOpen) {
    form.hidden = !isOpen;
    open.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) { show(); kind.input.focus(); }
  }

  function show() {
    const { name: text, hint } = KINDS[kind.input.value];
    name.node.firstChild.textContent = text;
    name.input.placeholder = hint;
    value.input.placeholder = kind.input.value === "score" ? "0.9" : "5, or a word";
  }

  // The event under way. Sent again after a lost answer, it has the same id and time, and stays one row.
  let draft = null;

  async function submit(given) {
    given.preventDefault();
    wrong.textContent = "";
    const { route, of } = KINDS[kind.input.value];
    const text = value.input.value.trim();
    draft = {
      id: draft?.id ?? newId(), timestamp: draft?.timestamp ?? iso(Date.now()), projectId: about.project,
      traceId: about.trace || trace.input.value.trim(), spanId: about.span, [of]: name.input.value.trim(),
      value: text !== "" && Number.isFinite(Number(text)) ? Number(text) : text, comment: comment.input.value.trim(),
      userId: who.input.value.trim(), source: route === "feedback" ? "explorer" : undefined,
    };
    localStorage.setItem(WHO, draft.userId);
    send.disabled = true;
    try {
      await ask(route, draft, `write ${own}`, ATTEMPTS);
    } catch (error) {
      if (!isOver(error)) wrong.textContent = [error.message, error.hint].filter(Boolean).join("; ");
      return;
    } finally {
      send.disabled = false;
    }
    const sent = draft;
    draft = null;
    for (const one of [value, comment]) one.input.value = "";
    turn(false);
    open.focus();
    await wait(route, sent);
  }

  async function wait(route, { id, timestamp }) {
    state.textContent = "Saved: it is in the spool, and will land.";
    const time = Date.parse(timestamp);
    const asked = { project: about.project, id, since: iso(time - NEAR_MS), until: iso(time + NEAR_MS) };
    for (let attempt = 0; attempt === 0 || node.isConnected; attempt += 1) {
      await sleep(AGAIN_MS[Math.min(attempt, AGAIN_MS.length - 1)]);
      const page = await ask(`${route}/page`, asked, `landed ${id}`).catch(() => null);
      if (page?.records.length) {
        state.textContent = "It has landed.";
        landed(route, page.records[0]);
        return;
      }
    }
  }

  const node = h("div", { class: "judging" }, open, form, state);
  return node;
}
