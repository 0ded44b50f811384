// What lands in a list, as it lands, by server-sent events. They are read by fetch: an EventSource cannot send the token.

import * as api from "./api.js";

const WAITS_MS = [500, 1000, 2000, 5000, 10000];
const LONG_MS = 60000;
const BUSY = 503;

// `begun` is called once all that lands from then on is followed, `took` with the records of a message, the oldest first,
// `state` with whether the stream is open, and `failed` with the error that ends it. The stream is closed while the page is
// hidden: a browser has few connections for all of its tabs. Returns a function that ends it.
export function follow(list, asked, { begun, took, state, failed }) {
  let after;
  let attempt = 0;
  let timer = 0;
  let control = null;
  let hiddenAt = 0;

  function take(message) {
    const fields = Object.fromEntries(message.split("\n").map((line) => line.split(/: (.*)/s)));
    if (!fields.data || fields.event) return;
    const page = JSON.parse(fields.data);
    const isFirst = after === undefined;
    after = fields.id;
    if (isFirst) begun();
    if (page.records.length) took(page.records);
  }

  async function read(signal) {
    const stream = await api.open(`${list}/live`, { ...asked, limit: 100, after }, signal);
    state(true);
    attempt = 0;
    const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      const messages = (rest + value).split("\n\n");
      rest = messages.pop();
      messages.forEach(take);
    }
  }

  async function run() {
    clearTimeout(timer);
    const own = control = new AbortController();
    try {
      await read(own.signal);
    } catch (error) {
      if (own === control && error instanceof api.Failure && error.status !== BUSY) { end(); failed(error); return; }
    }
    if (own !== control) return;
    state(false);
    timer = setTimeout(run, WAITS_MS[Math.min(attempt, WAITS_MS.length - 1)]);
    attempt += 1;
  }

  function pause() {
    clearTimeout(timer);
    control?.abort();
    control = null;
    state(false);
  }

  function turn() {
    if (document.hidden) { hiddenAt = Date.now(); pause(); return; }
    if (Date.now() - hiddenAt > LONG_MS) after = undefined; // the list is asked for anew
    if (!control) run();
  }

  function end() {
    document.removeEventListener("visibilitychange", turn);
    pause();
  }

  document.addEventListener("visibilitychange", turn);
  if (!document.hidden) run();
  return end;
}
