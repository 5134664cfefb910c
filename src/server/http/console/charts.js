// Live charts of this server.

import { el, short, seconds, count, bytes } from "./page.js";
import { history, listen } from "./metrics.js";
import { chart } from "./chart.js";

export const title = "Charts";

export function show(root) {
  const charts = [
    chart("Operations a second", [["reads", "reads"], ["writes", "writes"], ["upkeep", "pings and sessions"]], short),
    chart("Latency of reads", [["read50", "median"], ["read99", "99 %"]], seconds),
    chart("Latency of writes", [["write50", "median"], ["write99", "99 %"]], seconds),
    chart("fsync of the log", [["fsync50", "median"], ["fsync99", "99 %"]], seconds),
    chart("fsyncs a second", [["fsyncs", "fsyncs"]], short),
    chart("Connections", [["connections", "open"], ["outstanding", "requests that wait"]], count, { least: 4 }),
    chart("Memory", [["memory", "of the process"], ["data", "of paths and data"]], bytes, { base: 2 }),
  ];
  root.append(
    el("p", {}, "The last five minutes since this page was opened, every two seconds. Latencies are from a request's arrival until its reply is made, within this server."),
    el("div", { class: "charts" }, charts.map(({ figure }) => figure)));
  const update = () => charts.forEach((each) => each.update(history.points));
  update();
  const stopListening = listen(update);
  window.addEventListener("resize", update);
  return () => {
    stopListening();
    window.removeEventListener("resize", update);
  };
}
