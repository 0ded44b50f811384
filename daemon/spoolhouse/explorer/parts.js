// What views are made of: states, badges, trees of JSON.

import { h, span } from "./dom.js";
import * as api from "./api.js";

export const loading = (lines = 8) => h("div", { class: "loading", role: "status", "aria-label": "loading" },
  Array.from({ length: lines }, (_, i) => h("i", { style: { width: `${40 + ((i * 37) % 55)}%` } })));

export function empty(title, ...more) {
  return h("div", { class: "blank" }, h("strong", {}, title), more.map((one) => (one.nodeType ? one : h("p", {}, one))));
}

const SAMPLE = {
  type: "trace", projectId: "shop", traceId: "0af7651916cd43dd8448eb211c80319c", name: "hello", status: "ok",
  startTime: "…", endTime: "…",
};

// The first thing that somebody with an empty store sees.
export function nothingYet() {
  const line = JSON.stringify({ ...SAMPLE, startTime: new Date(Date.now() - 1200).toISOString(), endTime: new Date().toISOString() });
  return empty("Nothing has landed yet.",
    "Drop a file of JSON lines into the spool, or let it make some:",
    h("pre", {}, "spoolhouse generate"),
    "One line of such a file:", h("pre", {}, line));
}

export function failed(error, again) {
  if (error.status === 401) return signIn(error);
  const isTooMuch = error.status === 504;
  const title = isTooMuch ? "That is too much to answer." : error.status === 503 ? "It cannot be answered now." : "That could not be answered.";
  const hint = isTooMuch ? "Narrow it: a shorter time, a status, a word." : error.hint;
  return h("div", { class: "blank bad", role: "alert" },
    h("strong", {}, title), h("p", {}, error.message), hint && h("p", {}, hint),
    h("button", { click: again }, "Ask again"));
}

function signIn(error) {
  const field = h("input", { type: "password", "aria-label": "token", autocomplete: "off" });
  const submit = (event) => {
    event.preventDefault();
    api.setToken(field.value.trim());
    location.reload();
  };
  return h("form", { class: "blank", submit }, h("strong", {}, "A token is needed."), h("p", {}, error.message), error.hint && h("p", {}, error.hint),
    field, h("button", { type: "submit" }, "Go on"));
}

export const badge = (status) => h("span", { class: `badge ${status ?? "unset"}` }, status ?? "unset");

export function copyable(text, shown = text) {
  const button = h("button", { class: "copy", title: `copy ${text}`, "aria-label": `copy ${text}` }, shown);
  button.addEventListener("click", async (event) => {
    event.stopPropagation();
    await navigator.clipboard?.writeText(text);
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 900);
  });
  return button;
}

const LONG = 400;

export function long(text) {
  if (text.length <= LONG) return h("span", { class: "text" }, text);
  const shown = h("span", { class: "text" }, text.slice(0, LONG));
  const more = h("button", { class: "more" }, `… ${text.length - LONG} more characters`);
  more.addEventListener("click", () => { shown.textContent = text; more.remove(); });
  return h("span", {}, shown, more);
}

function scalar(value) {
  if (typeof value === "string") return long(value);
  return h("span", { class: `value ${value === null ? "null" : typeof value}` }, String(value));
}

const MOST = 200;

// An object or array, as far as it is opened.
export function tree(value, depth = 0) {
  if (value === null || typeof value !== "object") return scalar(value);
  const entries = Object.entries(value);
  if (!entries.length) return h("span", { class: "value null" }, Array.isArray(value) ? "[]" : "{}");
  const list = h("dl", { class: "tree" });
  const add = (from) => {
    for (const [key, one] of entries.slice(from, from + MOST)) list.append(branch(key, one, depth));
    if (entries.length > from + MOST) {
      const more = h("button", { class: "more" }, `… ${entries.length - from - MOST} more`);
      more.addEventListener("click", () => { more.remove(); add(from + MOST); });
      list.append(h("div", {}, more));
    }
  };
  add(0);
  return list;
}

function branch(key, value, depth) {
  const isDeep = value !== null && typeof value === "object" && Object.keys(value).length > 0;
  if (!isDeep) return h("div", {}, h("dt", {}, key), h("dd", {}, tree(value, depth + 1)));
  const size = Array.isArray(value) ? `[${value.length}]` : `{${Object.keys(value).length}}`;
  const inner = h("dd", { class: "deep" });
  const details = h("details", { open: depth < 2 }, h("summary", {}, key, " ", h("small", {}, size)), inner);
  const open = () => { if (details.open && !inner.firstChild) inner.append(tree(value, depth + 1)); };
  details.addEventListener("toggle", open);
  open();
  return h("div", { class: "branch" }, details);
}

// Text, a conversation, or a tree: what went into a step, or came out of it.
export function content(value) {
  const messages = Array.isArray(value) ? value : value?.messages;
  if (Array.isArray(messages) && messages.length && messages.every((one) => one && typeof one.role === "string")) {
    return h("div", { class: "talk" }, messages.map((one) => h("div", { class: `said ${one.role === "user" ? "user" : ""}` },
      h("small", {}, one.role), typeof one.content === "string" ? long(one.content) : tree(one.content ?? one))));
  }
  return typeof value === "string" ? h("pre", { class: "text" }, long(value)) : tree(value);
}

export function section(title, inner, { open = true, note = "" } = {}) {
  return h("details", { class: "section", open }, h("summary", {}, title, note !== "" && h("small", {}, note)), inner);
}

// Buttons of which those are pressed that `pressed` says. They stay the same while they are used: a click on a button
// that is replaced between its press and its release is lost.
export function segments(label, choices, choose) {
  const node = h("div", { class: "segments", role: "group", "aria-label": label }, choices.map(([value, text]) => h("button", {
    click: () => choose(value), "data-value": value,
  }, text)));
  const show = (pressed) => {
    for (const button of node.children) button.setAttribute("aria-pressed", String(pressed(button.dataset.value)));
  };
  return { node, show };
}

// A button that appears where a filter is set, and takes it away.
export function chip(remove) {
  const node = h("button", { class: "chip", click: remove, hidden: true });
  return { node, show: (text) => { node.hidden = !text; node.textContent = `${text} \u00d7`; } };
}

export function liveButton(toggle) {
  const node = h("button", { class: "live", click: toggle }, "Live");
  const show = (isLive) => node.setAttribute("aria-pressed", String(isLive));
  const state = (isOpen) => { node.classList.toggle("on", isOpen); node.title = isOpen ? "what lands is shown" : ""; };
  return { node, show, state };
}

// A field that asks once somebody has stopped typing.
export function searchField(label, change) {
  const field = h("input", { type: "search", placeholder: label, "aria-label": label, spellcheck: "false", "data-search": true });
  let timer = 0;
  const send = () => { clearTimeout(timer); change(field.value.trim()); };
  field.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(send, 400); });
  field.addEventListener("change", send);
  return { node: field, show: (text) => { if (document.activeElement !== field) field.value = text; } };
}

export const since = (ms) => span((Date.now() - ms) / 1000);
