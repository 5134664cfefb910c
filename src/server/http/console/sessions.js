// Sessions with their ephemerals and watches, and who watches a path.

import { el, table, facts, section, field, link, hash, paged, count, duration, moment, sessionId } from "./page.js";
import { command } from "./server.js";

export const title = "Sessions";

/// Rows on a page.
const PAGE = 100;

/// One after the other: the server answers one list at a time.
async function read() {
  const connections = await command("connections");
  const dump = await command("dump");
  const watches = await command("watches");
  const sessions = new Map();
  const at = (id) => {
    const key = sessionId(id);
    if (!sessions.has(key)) sessions.set(key, { id: key, client: null, ephemerals: [], watches: [], expires: null });
    return sessions.get(key);
  };
  for (const connection of [...connections.connections, ...connections.secure_connections]) {
    if (connection.session_id !== undefined) at(connection.session_id).client = connection;
  }
  for (const [time, ids] of Object.entries(dump.expiry_time_to_session_ids)) ids.forEach((id) => (at(id).expires = Number(time)));
  for (const [id, paths] of Object.entries(dump.session_id_to_ephemeral_paths)) at(id).ephemerals = paths;
  for (const [id, paths] of Object.entries(watches.session_id_to_watched_paths)) at(id).watches = paths;
  return { sessions: [...sessions.values()].sort((a, b) => (a.id < b.id ? -1 : 1)), read: Date.now() };
}

const addressOf = ({ client }) => client?.remote_socket_address?.replace(/^\//, "") ?? "not connected here";

const COLUMNS = [
  ["Session", ({ id }) => link("sessions", { id }, id)],
  ["Client", addressOf],
  ["Timeout", ({ client }) => (client ? duration(client.session_timeout) : "–"), "number"],
  ["Ephemerals", ({ ephemerals }) => count(ephemerals.length), "number"],
  ["Data watches", ({ watches }) => count(watches.length), "number"],
  ["Requests", ({ client }) => (client ? count(client.packets_received) : "–"), "number"],
  ["Waiting", ({ client }) => (client ? count(client.outstanding_requests) : "–"), "number"],
];

const paths = (all, noun) => paged(all, PAGE, noun, (some) => (some.length === 0 ? "" : el("ul", { class: "paths" }, some.map((path) => el("li", {}, link("tree", { path }, path))))));

function detail(session) {
  const { client } = session;
  return [
    el("p", {}, link("sessions", {}, "All sessions")),
    section(`Session ${session.id}`, facts([
      ["Client", addressOf(session)],
      ["Connected", client ? moment(client.established) : "–"],
      ["Timeout", client ? duration(client.session_timeout) : "–"],
      ["Expires unless heard", session.expires === null ? "not known here" : moment(session.expires)],
      ["Last operation", client?.last_operation ?? "–"],
      ["Requests, replies", client ? `${count(client.packets_received)}, ${count(client.packets_sent)}` : "–"],
      ["Latency: least, mean, most", client ? `${client.min_latency}, ${client.avg_latency}, ${client.max_latency} ms` : "–"],
    ])),
    section("Ephemerals", paths(session.ephemerals, "ephemerals")),
    section("Data watches", paths(session.watches, "watched paths")),
  ];
}

/// All sessions, and those that a search leaves.
function list({ sessions }) {
  const found = el("div", { "aria-live": "off" });
  const search = field("Session, client or path of an ephemeral", { type: "search", name: "search" });
  const draw = () => {
    const wanted = search.querySelector("input").value.trim().toLowerCase();
    const has = (session) => session.id.includes(wanted) || addressOf(session).includes(wanted) || session.ephemerals.some((path) => path.toLowerCase().includes(wanted));
    found.replaceChildren(paged(wanted === "" ? sessions : sessions.filter(has), PAGE, "sessions", (some) => table("Sessions", COLUMNS, some, "None.")));
  };
  draw();
  return [
    el("form", { class: "filter", onsubmit: (event) => {
      event.preventDefault();
      draw();
    } }, search, el("button", {}, "Search")),
    found,
  ];
}

function watchers({ sessions }, path) {
  const who = sessions.filter((session) => session.watches.includes(path));
  return section(`Who watches ${path}`, paged(who, PAGE, "sessions", (some) => table(`Sessions that watch ${path}`, COLUMNS, some, "None on this server.")));
}

function watchForm(path) {
  const where = field("Who watches the path", { name: "watch", value: path ?? "", required: true });
  return el("form", { class: "filter", onsubmit: (event) => {
    event.preventDefault();
    location.hash = hash("sessions", { watch: where.querySelector("input").value.trim() });
  } }, where, el("button", {}, "Show"));
}

/// What was read last: a list costs the server more than it costs the page to keep it.
let known = null;

export async function show(root, { id, watch }) {
  const content = el("div");
  const when = el("span", { role: "status" });
  const draw = () => {
    when.textContent = `As of ${new Date(known.read).toLocaleTimeString("sv-SE")}.`;
    const one = id && known.sessions.find((session) => session.id === id);
    if (id) content.replaceChildren(...(one ? detail(one) : [el("p", { class: "wrong" }, `This server knows no session ${id} that is connected to it, or has ephemerals.`), el("p", {}, link("sessions", {}, "All sessions"))]));
    else if (watch) content.replaceChildren(watchers(known, watch), el("p", {}, link("sessions", {}, "All sessions")));
    else content.replaceChildren(...list(known));
  };
  const refresh = el("button", { type: "button", onclick: async () => {
    refresh.disabled = true;
    when.textContent = "It is being read …";
    try {
      known = await read();
      draw();
    } catch (error) {
      when.textContent = error.message;
    }
    refresh.disabled = false;
  } }, "Read again");
  root.append(
    el("p", {}, "Connections and watches are those of this server, ephemerals those of the whole ensemble. Watches on data are listed and those on children are not, as ZooKeeper's commands do. ", when, " ", refresh),
    el("div", { class: "bar" }, watchForm(watch)), content);
  if (known === null) {
    when.textContent = "It is being read …";
    known = await read();
  }
  draw();
}
