// The frame of the page: views by the hash of the address, the line that says what is wrong, the samples.

import { el, hash } from "./page.js";
import { history, listen, run } from "./metrics.js";
import * as overview from "./overview.js";
import * as charts from "./charts.js";
import * as tree from "./tree.js";
import * as sessions from "./sessions.js";
import * as settings from "./settings.js";
import * as slow from "./slow.js";

/// A view has a title and `show(root, parameters)`, which fills an empty element. That gives a function, perhaps by a promise,
/// that ends what it began; it may throw.
const VIEWS = { overview, charts, tree, sessions, settings, slow };

const main = document.getElementById("main");
const trouble = document.getElementById("trouble");
let end = () => {};
let shown = 0;

/// Says what is wrong, once: screen readers read it out when it changes.
function say(sentence) {
  if (trouble.textContent !== sentence) trouble.textContent = sentence;
}

async function show() {
  const [name, query] = location.hash.replace(/^#\/?/, "").split("?");
  const at = Object.hasOwn(VIEWS, name) ? name : "overview";
  const view = VIEWS[at];
  end();
  end = () => {};
  shown += 1;
  const mine = shown;
  document.title = `${view.title} – zkfast console`;
  for (const link of document.querySelectorAll("#views a")) {
    if (link.dataset.view === at) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const root = el("div");
  main.replaceChildren(el("h1", { id: "title", tabindex: "-1" }, view.title), root);
  if (shown > 1) document.getElementById("title").focus({ preventScroll: true });
  try {
    const stop = (await view.show(root, Object.fromEntries(new URLSearchParams(query)))) ?? (() => {});
    // Another view may have been opened meanwhile.
    if (mine === shown) end = stop;
    else stop();
  } catch (error) {
    if (mine === shown) root.append(el("p", { class: "wrong" }, error.message));
  }
}

document.getElementById("views").append(...Object.entries(VIEWS).map(([name, { title }]) =>
  el("li", {}, el("a", { href: hash(name), "data-view": name }, title))));
document.getElementById("server").textContent = location.host;
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
listen((failed) => {
  const serves = history.last?.value("zkfast_serving") === 1;
  say(failed ? failed.message : serves ? "" : "This server serves no clients now.");
});
window.addEventListener("hashchange", show);
show();
run();
