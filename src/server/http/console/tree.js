// The tree of znodes: one znode, and its children by name, a page at a time.

import { el, table, facts, section, field, link, hash, count, bytes, moment, duration } from "./page.js";
import { api, identify } from "./server.js";

export const title = "Tree";

/// Children on a page.
const PAGE = 200;

/// Bytes of data that are asked for, and of those shown as hexadecimal at first.
const DATA_BYTES = 64 << 10;
const HEX_BYTES = 4096;

let user = "";

const join = (parent, name) => (parent === "/" ? `/${name}` : `${parent}/${name}`);

function crumbs(path) {
  const names = path === "/" ? [] : path.slice(1).split("/");
  const links = [el("li", {}, link("tree", { path: "/" }, "/"))];
  names.forEach((name, at) => {
    const here = `/${names.slice(0, at + 1).join("/")}`;
    links.push(el("li", {}, el("a", { href: hash("tree", { path: here }), "aria-current": at === names.length - 1 && "page" }, name)));
  });
  return el("nav", { "aria-label": "Path" }, el("ol", { class: "crumbs" }, links));
}

function fields(path, again) {
  const where = field("Path", { name: "path", value: path, required: true });
  const name = field("User", { name: "user", value: user });
  const password = field("Password", { name: "password", type: "password" });
  return el("div", { class: "bar" },
    el("form", { onsubmit: (event) => {
      event.preventDefault();
      location.hash = hash("tree", { path: where.querySelector("input").value.trim().replace(/(.)\/+$/, "$1") });
    } }, where, el("button", {}, "Go")),
    el("details", {},
      el("summary", {}, user ? `Reading as ${user}` : "Reading as anyone"),
      el("form", { onsubmit: (event) => {
        event.preventDefault();
        user = name.querySelector("input").value;
        identify(user, password.querySelector("input").value);
        again();
      } },
      el("p", {}, "Without a user, what access lists grant to world:anyone is shown. With a user of scheme digest, what that user may read. The password stays in this page and goes to this server only",
        location.protocol === "https:" ? "." : ", over HTTP, which others on the way can read."),
      name, password, el("button", {}, "Use"), user && el("button", { type: "button", onclick: () => {
        user = "";
        identify("", "");
        again();
      } }, "Be anyone"))));
}

function statOf(znode) {
  const { stat } = znode;
  const kind = znode.kind === "ttl" ? `TTL of ${duration(znode.ttl)}` : znode.kind;
  const pairs = [
    ["Kind", kind],
    ["Created", moment(stat.ctime)],
    ["Data changed", moment(stat.mtime)],
    ["Data", bytes(stat.data_length)],
    ["Children", count(stat.num_children)],
    ["version", String(stat.version)], ["cversion", String(stat.cversion)], ["aversion", String(stat.aversion)],
    ["czxid", stat.czxid], ["mzxid", stat.mzxid], ["pzxid", stat.pzxid],
  ];
  if (znode.kind === "ephemeral") pairs.splice(1, 0, ["Session", link("sessions", { id: stat.ephemeral_owner }, stat.ephemeral_owner)]);
  return section("Stat", facts(pairs));
}

function hexOf(data) {
  const lines = [];
  for (let at = 0; at < data.length; at += 16) {
    const row = data.subarray(at, at + 16);
    const hexadecimal = [...row].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const ascii = [...row].map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${hexadecimal.padEnd(47)}  ${ascii}`);
  }
  return lines.join("\n");
}

/// Data as text, JSON or hexadecimal; each only where it can be.
function dataOf({ data: encoded, data_shown: length, stat }) {
  if (encoded === null) return section("Data", el("p", {}, "The access list does not let you read it."));
  if (stat.data_length === 0) return section("Data", el("p", { class: "empty" }, "None."));
  const data = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  const isWhole = length === stat.data_length;
  const forms = [];
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data, { stream: !isWhole });
    try {
      forms.push(["JSON", JSON.stringify(JSON.parse(text), null, 2)]);
    } catch {
      // It is text.
    }
    forms.push(["Text", text]);
  } catch {
    // It is no text.
  }
  const isCut = data.length > HEX_BYTES;
  forms.push(["Hex", hexOf(data.subarray(0, HEX_BYTES)) + (isCut ? `\n… and ${bytes(data.length - HEX_BYTES)} more` : "")]);
  const shown = el("pre", { tabindex: "0", "aria-label": "Data" });
  const buttons = forms.map(([name, text], at) => el("button", { type: "button", onclick: () => choose(at) }, name));
  const choose = (at) => {
    shown.textContent = forms[at][1];
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(index === at)));
  };
  choose(0);
  return section("Data", el("div", { class: "choice", role: "group", "aria-label": "Data as" }, buttons),
    !isWhole && el("p", {}, `The first ${bytes(length)} of ${bytes(stat.data_length)}.`), shown);
}

function aclOf({ acl }) {
  return section("Access list", table("Access list", [["Scheme", ({ scheme }) => scheme], ["Id", ({ id }) => id, "any"], ["May", ({ perms }) => perms]], acl));
}

function childrenOf(path, hasAny) {
  const box = el("div", { class: "children" });
  const prefix = field("Names that begin with", { type: "search", name: "prefix" });
  const list = el("div", { "aria-busy": "false" });
  // The names after which the pages up to this one begin.
  let begins = [""];
  const columns = [
    ["Name", ({ name, readable }) => (readable ? link("tree", { path: join(path, name) }, name) : [name, el("span", { class: "note" }, " (you may not read it)")])],
    ["Kind", ({ kind }) => kind ?? "–"],
    ["Children", ({ num_children: number }) => (number === undefined ? "–" : count(number)), "number"],
    ["Data", ({ data_length: length }) => (length === undefined ? "–" : bytes(length)), "number"],
  ];
  const load = async (focus) => {
    list.setAttribute("aria-busy", "true");
    try {
      const page = await api("children", { path, limit: PAGE, after: begins.at(-1), prefix: prefix.querySelector("input").value });
      const go = (text, to, key) => el("button", { type: "button", disabled: !to, "data-go": key, onclick: () => {
        begins = to;
        load(key);
      } }, text);
      const from = (begins.length - 1) * PAGE;
      const range = page.children.length === 0 ? "No names" : `${count(from + 1)} to ${count(from + page.children.length)}`;
      const isFirst = begins.length === 1;
      list.replaceChildren(
        !hasAny ? "" : isFirst && page.next === null ? el("p", { class: "range" }, `${count(page.children.length)} of ${count(page.num_children)} children`) : el("nav", { class: "pages", "aria-label": "Pages of children" },
          go("First", !isFirst && [""], "first"), go("Previous", !isFirst && begins.slice(0, -1), "previous"),
          el("span", { role: "status" }, `${range}; ${count(page.num_children)} children in all`),
          go("Next", page.next !== null && [...begins, page.next], "next")),
        table(`Children of ${path}`, columns, page.children, "None."));
      if (focus) (list.querySelector(`[data-go=${focus}]:enabled`) ?? list.querySelector("[data-go]:enabled"))?.focus();
    } catch (error) {
      list.replaceChildren(el("p", { class: "wrong", role: "alert" }, error.message));
    }
    list.setAttribute("aria-busy", "false");
  };
  box.append(section("Children", hasAny && el("form", { class: "filter", onsubmit: (event) => {
    event.preventDefault();
    begins = [""];
    load();
  } }, prefix, el("button", {}, "Show")), list));
  return [box, load];
}

export async function show(root, { path = "/" }) {
  const again = async () => {
    root.replaceChildren(fields(path, again), crumbs(path));
    try {
      const znode = await api("znode", { path, bytes: DATA_BYTES });
      const [children, load] = childrenOf(path, znode.stat.num_children > 0);
      const detail = el("div", { class: "znode" }, dataOf(znode), statOf(znode), aclOf(znode),
        el("p", {}, link("sessions", { watch: path }, "Who watches it")));
      // On a narrow screen one follows the other: what there is comes first.
      const leads = znode.stat.num_children > 0 && znode.stat.data_length === 0;
      root.append(el("div", { class: znode.stat.num_children > 0 ? "split" : "" }, leads ? [children, detail] : [detail, children]));
      await load();
    } catch (error) {
      root.append(el("p", { class: "wrong", role: "alert" }, error.message));
    }
  };
  await again();
}
