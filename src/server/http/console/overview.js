// The server and its ensemble at a glance.

import { el, table, facts, section, count, short, bytes, seconds, duration } from "./page.js";
import { api, json } from "./server.js";
import { history, listen } from "./metrics.js";

export const title = "Overview";

const STATES = [
  ["Server", ({ id, is_me: isMe }) => [String(id), isMe ? " (this one)" : ""]],
  ["State", ({ state, line }) => state ?? (line === "observer" ? "not known here; an observer by its line" : "not known here")],
  ["Address", ({ address }) => address ?? "–"],
  ["Clients", ({ client_address: client }) => client || "–"],
];

/// What a leader knows beside.
const PROGRESS = [
  ["Last zxid", ({ zxid }) => zxid ?? "–", "number"],
  ["Lag", ({ lag }) => (lag === undefined ? "–" : lag === null ? "an epoch" : `${count(lag)} txns`), "number"],
  ["Heard", ({ heard_ms_ago: ms }) => (ms === undefined ? "–" : `${duration(ms)} ago`), "number"],
];

function health(ready, ensemble) {
  const reasons = ready.reasons ?? [];
  return el("div", { class: ready.ready ? "state good" : "state bad" },
    el("p", { class: "big" }, ready.ready ? "Ready" : "Not ready", el("span", {}, ` – ${ensemble.state ?? ready.state}`)),
    reasons.length > 0 && el("ul", {}, reasons.map((reason) => el("li", {}, reason))));
}

function server(ensemble) {
  const epoch = BigInt(ensemble.zxid) >> 32n;
  return section("This server", facts([
    ["Role", ensemble.state],
    ["Number", ensemble.my_id ?? "none, it is alone"],
    ["Leader", ensemble.leader_id ?? "–"],
    ["Epoch", String(epoch)],
    ["Last zxid", ensemble.zxid],
    ["Up for", duration(ensemble.uptime)],
    ["Version", ensemble.version.split(",")[0]],
  ]));
}

/// From metrics: what it serves now.
function load(isMember) {
  const { last, points } = history;
  const value = (name) => last?.value(name) ?? NaN;
  const now = points.at(-1) ?? {};
  const mean = (name) => value(`${name}_sum`) / value(`${name}_count`) / 1000;
  const pairs = [
    ["Reads a second", short(now.reads)],
    ["Writes a second", short(now.writes)],
    ["99 % of reads within", seconds(now.read99)],
    ["99 % of writes within", seconds(now.write99)],
    ["Connections", count(value("num_alive_connections"))],
    ["Sessions", count(value("global_sessions"))],
    ["Requests that wait", count(value("outstanding_requests"))],
    ["Znodes", count(value("znode_count"))],
    ["Ephemerals", count(value("ephemerals_count"))],
    ["Watches", count(value("watch_count"))],
    ["Paths and data", bytes(value("approximate_data_size"))],
    ["Memory", bytes(value("process_resident_memory_bytes"))],
  ];
  if (isMember) pairs.push(["Elections it took part in", count(value("looking_count"))]);
  if (value("election_time_count") > 0) pairs.push(["Mean time of an election", seconds(mean("election_time"))]);
  if (value("unavailable_time_count") > 0) pairs.push(["Mean time without a leader", seconds(mean("unavailable_time"))]);
  if (Number.isFinite(value("learners"))) pairs.push(["Followers in step", count(value("synced_followers"))], ["Observers in step", count(value("synced_observers"))]);
  return facts(pairs);
}

function servers({ servers: all, my_id: id, state }) {
  if (id === null) return section("Ensemble", el("p", {}, "This server is alone: it is in no ensemble."));
  const isLeader = state === "leader";
  const known = isLeader ? "As the leader knows them: of a follower the last zxid on its disk, of an observer the last that it was sent." : "This server knows its leader; the console of the leader shows how far each server is.";
  return section("Ensemble", el("p", {}, known), table("Servers of the ensemble", isLeader ? [...STATES, ...PROGRESS] : STATES, all));
}

export async function show(root) {
  const [top, ensemble, figures] = [el("div"), el("div"), el("div")];
  root.append(top, ensemble, section("Load", figures));
  let isOver = false;
  let isMember = false;
  const update = async () => {
    figures.replaceChildren(load(isMember));
    const [ready, told] = await Promise.all([json("/ready"), api("ensemble").catch(() => null)]);
    if (isOver) return;
    isMember = told?.my_id != null;
    top.replaceChildren(health(ready, told ?? {}), told ? server(told) : "");
    ensemble.replaceChildren(told ? servers(told) : "");
  };
  const stop = listen(() => update().catch(() => {}));
  await update();
  return () => {
    isOver = true;
    stop();
  };
}
