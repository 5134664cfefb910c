// Samples of /metrics, and what follows from two of them.

import { text } from "./server.js";

/// A sample every so many milliseconds, for so long.
export const EVERY_MS = 2000;
export const KEPT_MS = 300_000;

const NAMES = [
  "zkfast_request_duration_seconds_bucket", "zkfast_request_duration_seconds_count", "zkfast_fsync_duration_seconds_bucket",
  "zkfast_fsync_duration_seconds_count", "zkfast_serving", "zkfast_role", "zkfast_epoch", "zkfast_epoch_txns",
  "num_alive_connections", "outstanding_requests", "process_resident_memory_bytes", "approximate_data_size", "znode_count",
  "ephemerals_count", "watch_count", "global_sessions", "looking_count", "election_time_count", "election_time_sum",
  "unavailable_time_count", "unavailable_time_sum", "learners", "synced_followers", "synced_observers", "pending_syncs", "uptime",
];
const PATH = `/metrics?${NAMES.map((name) => `name[]=${name}`).join("&")}`;

/// Operations that change something.
const WRITES = new Set(["create", "create2", "createContainer", "createTTL", "delete", "setData", "setACL", "multi", "reconfig", "createSession", "closeSession"]);

/// Requests of a client's session, and none of its work.
const UPKEEP = new Set(["ping", "createSession", "closeSession", "attachSession"]);

/// Reads the text format: by name a list of `[labels, value]`.
export function parse(page) {
  const found = new Map();
  for (const line of page.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!match) continue;
    const labels = {};
    for (const [, name, value] of (match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[name] = value;
    const number = match[3] === "+Inf" ? Infinity : Number(match[3]);
    if (!found.has(match[1])) found.set(match[1], []);
    found.get(match[1]).push([labels, number]);
  }
  return found;
}

/// What is kept of a page: its numbers, and its histograms by bound.
function sample(page, at) {
  const metrics = parse(page);
  const value = (name) => metrics.get(name)?.[0][1] ?? NaN;
  const operations = new Map();
  for (const [{ operation }, number] of metrics.get("zkfast_request_duration_seconds_count") ?? []) operations.set(operation, number);
  const buckets = (name, counts) => {
    const sums = new Map();
    for (const [labels, number] of metrics.get(name) ?? []) {
      if (!counts(labels)) continue;
      const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
      sums.set(bound, (sums.get(bound) ?? 0) + number);
    }
    return [...sums].sort(([a], [b]) => a - b);
  };
  const latency = "zkfast_request_duration_seconds_bucket";
  return {
    at, value, operations,
    role: metrics.get("zkfast_role")?.find(([, is]) => is === 1)?.[0].role ?? "looking",
    reads: buckets(latency, ({ operation }) => !WRITES.has(operation) && !UPKEEP.has(operation)),
    writes: buckets(latency, ({ operation }) => WRITES.has(operation) && !UPKEEP.has(operation)),
    fsyncs: buckets("zkfast_fsync_duration_seconds_bucket", () => true),
  };
}

/// What a bucket has more than before; `null` after a reset of the server.
function grown(before, after) {
  const known = new Map(before);
  const more = after.map(([bound, number]) => [bound, number - (known.get(bound) ?? 0)]);
  return more.some(([, number]) => number < 0) ? null : more;
}

/// The quantile of what came between two samples, in seconds, as Prometheus' histogram_quantile has it: a value within a
/// bucket is taken to be as far in it as its rank is. NaN where nothing came.
export function quantile(q, before, after) {
  const more = grown(before, after);
  const all = more?.at(-1)?.[1] ?? 0;
  if (all === 0) return NaN;
  let [low, below] = [0, 0];
  for (const [bound, number] of more) {
    if (number >= q * all) {
      if (bound === Infinity) return low;
      return low + ((bound - low) * (q * all - below)) / Math.max(1, number - below);
    }
    [low, below] = [bound, number];
  }
  return low;
}

function rates(before, after, counts) {
  let sum = 0;
  for (const [operation, number] of after.operations) {
    if (counts(operation)) sum += number - (before.operations.get(operation) ?? 0);
  }
  return sum < 0 ? NaN : sum / ((after.at - before.at) / 1000);
}

/// What is drawn of two samples.
function point(before, after) {
  const fsyncs = (after.fsyncs.at(-1)?.[1] ?? 0) - (before.fsyncs.at(-1)?.[1] ?? 0);
  return {
    at: after.at,
    reads: rates(before, after, (operation) => !WRITES.has(operation) && !UPKEEP.has(operation)),
    writes: rates(before, after, (operation) => WRITES.has(operation) && !UPKEEP.has(operation)),
    upkeep: rates(before, after, (operation) => UPKEEP.has(operation)),
    read50: quantile(0.5, before.reads, after.reads),
    read99: quantile(0.99, before.reads, after.reads),
    write50: quantile(0.5, before.writes, after.writes),
    write99: quantile(0.99, before.writes, after.writes),
    fsync50: quantile(0.5, before.fsyncs, after.fsyncs),
    fsync99: quantile(0.99, before.fsyncs, after.fsyncs),
    fsyncs: fsyncs < 0 ? NaN : fsyncs / ((after.at - before.at) / 1000),
    connections: after.value("num_alive_connections"),
    outstanding: after.value("outstanding_requests"),
    memory: after.value("process_resident_memory_bytes"),
    data: after.value("approximate_data_size"),
  };
}

/// Points of the last five minutes, the oldest first, and the newest sample.
export const history = { points: [], last: null };

const listeners = new Set();

/// Calls `listener` after each sample, with the error where there was none. Gives what ends that.
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/// Takes samples until the page is closed.
export async function run() {
  for (;;) {
    const began = performance.now();
    let failed = null;
    try {
      const next = sample(await text(PATH), Date.now());
      if (history.last) history.points.push(point(history.last, next));
      history.last = next;
    } catch (error) {
      failed = error;
      history.last = null;
    }
    history.points = history.points.filter(({ at }) => at > Date.now() - KEPT_MS);
    for (const listener of listeners) listener(failed);
    await new Promise((done) => setTimeout(done, Math.max(200, EVERY_MS - (performance.now() - began))));
  }
}
