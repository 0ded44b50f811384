// The address holds the whole state: the view, an id, and what is asked; so every state can be shared as a link.

export function read() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [view = "", ...rest] = path.split("/");
  return { view, id: rest.length ? decodeURIComponent(rest.join("/")) : "", asked: Object.fromEntries(new URLSearchParams(query)) };
}

// What goes along from view to view.
export const COMMON = ["project", "since", "until"];

export function common(asked) {
  return Object.fromEntries(COMMON.filter((name) => asked[name]).map((name) => [name, asked[name]]));
}

export function link(view, asked, id = "") {
  const given = Object.entries(asked).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const query = new URLSearchParams(given).toString();
  return `#/${view}${id ? `/${encodeURIComponent(id)}` : ""}${query ? `?${query}` : ""}`;
}

export function go(view, asked, id = "") {
  location.hash = link(view, asked, id);
}

// Changes what is asked in this view. `quietly`: without a step in the browser's history.
export function change(changes, { quietly = false } = {}) {
  const { view, id, asked } = read();
  const target = link(view, { ...asked, ...changes }, id);
  if (target === location.hash) return;
  if (!quietly) { location.hash = target; return; }
  history.replaceState(null, "", target);
  dispatchEvent(new HashChangeEvent("hashchange"));
}
