// Parts of a page: elements, tables, lists in pages, numbers as people read them.

/// An element. `properties` are attributes; those that begin with "on" are listeners, `false` and `null` are left out.
/// Text of the server only ever gets in as a text node.
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/// A table. A column is `[heading, cell of a row, class]`; the first cell of a row is its heading. On a narrow screen a row
/// becomes a list, in which each cell has its column's heading before it.
export function table(caption, columns, rows, empty = "None.") {
  if (rows.length === 0) return el("p", { class: "empty" }, empty);
  const cell = (row) => ([heading, of, kind], at) =>
    el(at === 0 ? "th" : "td", { scope: at === 0 && "row", class: kind, "data-heading": heading }, of(row));
  return el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {},
      el("caption", { class: "unseen" }, caption),
      el("thead", {}, el("tr", {}, columns.map(([heading, , kind]) => el("th", { scope: "col", class: kind }, heading)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, columns.map(cell(row)))))));
}

/// Names and values.
export function facts(pairs) {
  return el("dl", { class: "facts" }, pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

/// A part of a page with a heading.
export function section(title, ...children) {
  return el("section", {}, el("h2", {}, title), children);
}

/// A list of which one page is in the document, whatever its length. `render` makes the page of some rows.
export function paged(rows, size, noun, render) {
  const box = el("div");
  const draw = (page, focus) => {
    const last = Math.max(0, Math.ceil(rows.length / size) - 1);
    const from = page * size;
    const button = (text, to, at) => el("button", { type: "button", disabled: to < 0 || to > last || to === page, "data-go": at, onclick: () => draw(to, at) }, text);
    const range = rows.length === 0 ? `No ${noun}` : `${count(from + 1)} to ${count(Math.min(rows.length, from + size))} of ${count(rows.length)} ${noun}`;
    const bar = last === 0 ? el("p", { class: "range" }, `${count(rows.length)} in all`)
      : el("nav", { class: "pages", "aria-label": `Pages of ${noun}` },
        button("First", 0, "first"), button("Previous", page - 1, "previous"), el("span", { role: "status" }, range),
        button("Next", page + 1, "next"), button("Last", last, "last"));
    box.replaceChildren(bar, render(rows.slice(from, from + size)));
    if (focus) (box.querySelector(`[data-go=${focus}]:enabled`) ?? box.querySelector("[data-go]:enabled"))?.focus();
  };
  draw(0);
  return box;
}

/// A field with its label.
export function field(label, properties) {
  return el("label", {}, el("span", {}, label), el("input", { spellcheck: "false", autocomplete: "off", autocapitalize: "none", ...properties }));
}

/// A whole number with a space between thousands.
export function count(number) {
  return Number.isFinite(number) ? Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f") : "–";
}

/// A number with about three digits that count.
export function short(number) {
  if (!Number.isFinite(number)) return "–";
  if (Math.abs(number) >= 100) return count(number);
  return String(Number(number.toPrecision(3)));
}

export function bytes(number) {
  if (!Number.isFinite(number)) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (number >= 1024 && at < units.length - 1) {
    number /= 1024;
    at += 1;
  }
  return `${short(number)} ${units[at]}`;
}

/// Seconds as µs, ms or s.
export function seconds(number) {
  if (!Number.isFinite(number)) return "–";
  if (number === 0) return "0 s";
  if (number < 1e-3) return `${short(number * 1e6)} µs`;
  if (number < 1) return `${short(number * 1e3)} ms`;
  return `${short(number)} s`;
}

/// Milliseconds as days, hours, minutes and seconds, of which the two largest are said.
export function duration(ms) {
  const parts = [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000], ["s", 1000]];
  const at = Math.max(0, parts.findIndex(([, unit]) => ms >= unit));
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return parts.slice(at, at + 2).map(([name, unit], index) => `${Math.floor((index === 0 ? ms : ms % parts[at][1]) / unit)} ${name}`).join(" ");
}

/// Milliseconds since 1970 as date and time of this machine, with the zone.
export function moment(ms) {
  if (!Number.isFinite(ms) || ms <= 0) return "–";
  return new Date(ms).toLocaleString("sv-SE", { timeZoneName: "short" });
}

/// A session's number as `0x…`.
export function sessionId(id) {
  return `0x${BigInt.asUintN(64, BigInt(id)).toString(16)}`;
}

/// A link to a view.
export function link(view, parameters, ...children) {
  return el("a", { href: hash(view, parameters) }, children);
}

export function hash(view, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  return `#/${view}${query && `?${query}`}`;
}
