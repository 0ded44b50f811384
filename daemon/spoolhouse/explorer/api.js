// Questions to the server: JSON in, JSON out. It answers four at once, to everybody together; so a page asks three.

const TOKEN = "spoolhouse-token";
const AT_ONCE = 3;
const LATER_MS = 500;
const ATTEMPTS = 10;

const SERVES = document.documentElement.dataset.serves.split(" ");

export const serves = (what) => SERVES.includes(what);

const asking = new Map();
const waiting = [];
let running = 0;

export class Failure extends Error {
  constructor(status, text, hint = "") {
    super(text);
    this.status = status;
    this.hint = hint;
  }
}

export function setToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

export function headers() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function problem(answer) {
  try {
    const { error, fix } = await answer.json();
    return new Failure(answer.status, error, fix);
  } catch {
    return new Failure(answer.status, `${answer.status} ${answer.statusText}`);
  }
}

async function turn(signal) {
  if (running >= AT_ONCE) await new Promise((go) => waiting.push(go));
  signal.throwIfAborted();
  running += 1;
}

function done() {
  running -= 1;
  waiting.shift()?.();
}

function send(path, asked, signal) {
  if (serves("token") && !sessionStorage.getItem(TOKEN)) throw new Failure(401, "Whoever asks here needs one.", "`spoolhouse serve` prints the address with the token of a daemon; others get one from whoever serves this page.");
  const given = Object.entries(asked).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const body = JSON.stringify(Object.fromEntries(given));
  return fetch(`api/v1/${path}`, { method: "POST", headers: { "Content-Type": "application/json", ...headers() }, body, signal });
}

async function post(path, asked, signal, attempts) {
  for (let attempt = 1; ; attempt += 1) {
    const answer = await send(path, asked, signal);
    if (answer.ok) return answer.json();
    if (answer.status !== 503 || attempt === attempts) throw await problem(answer);
    await new Promise((go) => setTimeout(go, LATER_MS * attempt));
    signal.throwIfAborted();
  }
}

// A newer question of the same kind ends an older one.
export async function ask(path, asked = {}, kind = path, attempts = ATTEMPTS) {
  asking.get(kind)?.abort();
  const control = new AbortController();
  asking.set(kind, control);
  try {
    await turn(control.signal);
  } catch (error) {
    waiting.shift()?.();
    throw error;
  }
  try {
    return await post(path, asked, control.signal, attempts);
  } catch (error) {
    if (error instanceof TypeError) throw new Failure(0, "The server does not answer.");
    throw error;
  } finally {
    done();
  }
}

// The bytes of an answer that has no end.
export async function open(path, asked, signal) {
  const answer = await send(path, asked, signal);
  if (!answer.ok) throw await problem(answer);
  return answer.body;
}

export const isOver = (error) => error.name === "AbortError";

// The names of all projects of which something happened in the last 90 days, and that this token is for.
export const projects = async () => (await ask("projects")).values;
