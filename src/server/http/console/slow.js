// Requests that took long lately, and in which stage.

import { el, table, paged, seconds, link, sessionId } from "./page.js";
import { command, NoAnswer } from "./server.js";

export const title = "Slow requests";

const PAGE = 100;

const time = (value) => {
  const date = new Date(typeof value === "number" ? value : String(value));
  return Number.isNaN(date.getTime()) ? String(value) : date.toLocaleString("sv-SE");
};

function stages(request) {
  const all = Object.entries(request.stages ?? {});
  if (all.length === 0) return "–";
  return el("ul", { class: "stages" }, all.map(([name, us]) => el("li", {}, `${name.replace(/_us$/, "").replaceAll("_", " ")} ${seconds(us / 1e6)}`)));
}

const COLUMNS = [
  ["When", ({ time: at }) => time(at)],
  ["Operation", ({ op }) => String(op)],
  ["Path", ({ path }) => (path ? link("tree", { path }, path) : "–")],
  ["Took", ({ total_us: us }) => seconds(us / 1e6), "number"],
  ["Stages", stages],
  ["Session", ({ session }) => (session ? link("sessions", { id: sessionId(session) }, sessionId(session)) : "–")],
];

export async function show(root) {
  const content = el("div");
  const read = async () => {
    try {
      const { threshold_ms: threshold, requests } = await command("slow_requests");
      const slowest = el("p", {}, `Requests that took longer than ${threshold} ms, the newest first, as far as the server keeps them.`);
      const newest = [...requests].sort((a, b) => new Date(b.time) - new Date(a.time));
      content.replaceChildren(slowest, paged(newest, PAGE, "requests", (some) => table("Slow requests", COLUMNS, some, "None.")));
    } catch (error) {
      const isMissing = error instanceof NoAnswer && error.message.startsWith("Unknown command");
      content.replaceChildren(isMissing ? el("p", {}, "This server keeps no list of slow requests.") : el("p", { class: "wrong", role: "alert" }, error.message));
    }
  };
  root.append(el("p", {}, el("button", { type: "button", onclick: read }, "Read again")), content);
  await read();
}
