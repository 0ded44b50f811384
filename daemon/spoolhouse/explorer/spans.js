// The spans of one trace as a tree: depths, own time, the critical path. Pure; no recursion, for a chain may be long.

const end = (span) => span.from + span.long;

// Returns {roots, from, to, all}; a node has span, from, long, children, parent, depth, own, critical (ms).
export function arrange(spans) {
  const nodes = new Map();
  for (const span of spans) {
    const from = Date.parse(span.start_time);
    const to = span.end_time ? Date.parse(span.end_time) : NaN;
    const long = Math.max(0, span.duration_ms ?? (Number.isNaN(to) ? 0 : to - from));
    nodes.set(span.span_id, { id: span.span_id, span, from, long, children: [], parent: null, depth: 0, own: 0, critical: 0 });
  }
  const roots = [];
  for (const node of nodes.values()) {
    const parent = nodes.get(node.span.parent_span_id);
    if (parent && parent !== node) { parent.children.push(node); node.parent = parent; } else roots.push(node);
  }
  cutCycles(nodes, roots);
  const order = (a, b) => a.from - b.from || b.long - a.long || (a.id < b.id ? -1 : 1);
  roots.sort(order);
  const all = walk(roots, order);
  for (const node of all) node.own = ownTime(node);
  const from = all.reduce((least, node) => Math.min(least, node.from), Infinity);
  const to = all.reduce((most, node) => Math.max(most, end(node)), -Infinity);
  markCritical(roots, to);
  return { roots, all, nodes, from, to };
}

// Spans whose parents go round in a circle hang on no root: one of them becomes one.
function cutCycles(nodes, roots) {
  const seen = new Set();
  const reach = (start) => {
    const stack = [start];
    while (stack.length) {
      const node = stack.pop();
      if (seen.has(node)) continue;
      seen.add(node);
      stack.push(...node.children);
    }
  };
  roots.forEach(reach);
  for (const node of nodes.values()) {
    if (seen.has(node)) continue;
    node.parent.children = node.parent.children.filter((one) => one !== node);
    node.parent = null;
    roots.push(node);
    reach(node);
  }
}

function walk(roots, order) {
  const all = [];
  const stack = [...roots].reverse();
  while (stack.length) {
    const node = stack.pop();
    node.depth = node.parent ? node.parent.depth + 1 : 0;
    node.children.sort(order);
    all.push(node);
    for (let i = node.children.length - 1; i >= 0; i -= 1) stack.push(node.children[i]);
  }
  return all;
}

// The stretches in which none of its children runs: [[from, to], …].
export function gaps(node) {
  const found = [];
  let at = node.from;
  for (const child of node.children) {
    if (child.from > at) found.push([at, Math.min(child.from, end(node))]);
    at = Math.max(at, end(child));
    if (at >= end(node)) return found;
  }
  if (at < end(node)) found.push([at, end(node)]);
  return found;
}

function ownTime(node) {
  return gaps(node).reduce((all, [from, to]) => all + (to - from), 0);
}

// From the end backwards: the child that ended last, before it the one that ended last, and so on. A child that runs on
// counts as far as the time in question.
function markCritical(roots, to) {
  const last = roots.reduce((found, node) => (!found || end(node) > end(found) ? node : found), null);
  if (!last) return;
  const stack = [[last, Math.min(end(last), to)]];
  while (stack.length) {
    const [node, until] = stack.pop();
    let at = until;
    for (const child of [...node.children].sort((a, b) => end(b) - end(a) || b.from - a.from)) {
      const childEnd = Math.min(end(child), at);
      if (child.from >= at || childEnd <= node.from) continue;
      node.critical += Math.max(0, at - childEnd);
      stack.push([child, childEnd]);
      at = Math.max(child.from, node.from);
    }
    node.critical += Math.max(0, at - node.from);
    node.isCritical = true;
  }
}

// The span to look at first: the deepest that failed, else the one that the end waited for the longest.
export function suspect(tree) {
  const failed = tree.all.filter((node) => node.span.status === "error");
  if (failed.length) return failed.reduce((found, node) => (node.depth > found.depth ? node : found));
  return tree.all.reduce((found, node) => (!found || node.critical > found.critical ? node : found), null);
}
