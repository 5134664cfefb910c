// The configuration: each setting and what became of it, and what is in force of the rest.

import { el, table, section, field, count } from "./page.js";
import { readSettings } from "./server.js";

export const title = "Configuration";

const VERDICTS = { effective: "good", "no effect": "idle", unknown: "bad", refused: "bad", overridden: "idle" };

const SETTINGS = [
  ["Key", ({ key }) => el("code", {}, key)],
  ["Value", ({ value }) => el("code", {}, value), "any"],
  ["What became of it", ({ verdict, notes }) => [el("b", { class: VERDICTS[verdict] }, verdict), notes.length > 0 && `: ${notes.join("; ")}`]],
  ["Where it stands", ({ origin }) => origin, "any"],
];

const DEFAULTS = [
  ["Key", ({ key }) => el("code", {}, key)],
  ["Default in force", ({ value }) => el("code", {}, value)],
  ["What it means", ({ about }) => about.replaceAll("`", "")],
];

export async function show(root) {
  const { settings, defaults } = await readSettings();
  const search = field("Keys that contain", { type: "search", name: "key" });
  const found = el("div");
  const draw = () => {
    const wanted = search.querySelector("input").value.trim().toLowerCase();
    const matching = (all) => all.filter(({ key }) => key.toLowerCase().includes(wanted));
    const [given, rest] = [matching(settings), matching(defaults)];
    found.replaceChildren(
      section(`Settings (${count(given.length)})`, table("Settings", SETTINGS, given, "None: this server has no such setting.")),
      section(`Defaults (${count(rest.length)})`, table("Defaults", DEFAULTS, rest)));
  };
  search.querySelector("input").addEventListener("input", draw);
  draw();
  root.append(
    el("p", {}, "As read when the server started, from its file, the JVM flags and its own flags. Values of secrets are not shown: *** stands for them. The keys without a setting that have an effect follow, with their defaults."),
    el("form", { class: "filter", onsubmit: (event) => event.preventDefault() }, search), found);
}
