// What is asked of the server.

/// An answer that is none: `status` is that of HTTP, `code` ZooKeeper's name of the error.
export class NoAnswer extends Error {
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const WAIT_MS = 15_000;

/// Who asks about znodes, as the Authorization header says it. It is forgotten with the page.
let credentials = null;

/// Without a user there are no credentials.
export function identify(user, password) {
  const text = `digest ${user}:${password}`;
  // A header holds bytes; those of the text in UTF-8 are what ZooKeeper hashes.
  credentials = user === "" ? null : String.fromCharCode(...new TextEncoder().encode(text));
}

async function ask(path, headers = {}) {
  try {
    return await fetch(path, { headers, cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(WAIT_MS) });
  } catch (error) {
    const why = error.name === "TimeoutError" ? `no answer within ${WAIT_MS / 1000} s` : "it cannot be reached";
    throw new NoAnswer(`The server does not answer: ${why}.`, 0);
  }
}

export async function text(path) {
  const answer = await ask(path);
  if (!answer.ok) throw new NoAnswer((await answer.text()).trim(), answer.status);
  return answer.text();
}

/// Reads JSON. Whole numbers that do not fit a JavaScript number, such as session ids, become text.
function parse(body) {
  return JSON.parse(body.replace(/"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g, (token) => (token[0] === '"' ? token : `"${token}"`)));
}

/// JSON, whatever the status.
export async function json(path) {
  const answer = await ask(path);
  try {
    return parse(await answer.text());
  } catch {
    throw new NoAnswer(`${path} has no answer in JSON.`, answer.status);
  }
}

/// `/api/SUBJECT`.
export async function api(subject, parameters = {}) {
  const answer = await ask(`/api/${subject}?${new URLSearchParams(parameters)}`, credentials ? { authorization: credentials } : {});
  const body = await answer.json().catch(() => ({ error: `HTTP status ${answer.status}` }));
  if (!answer.ok) throw new NoAnswer(body.error, answer.status, body.code);
  return body;
}

let settings = null;

/// What became of each setting; it stays the same while the server runs.
export function readSettings() {
  settings ??= api("settings").catch((error) => {
    settings = null;
    throw error;
  });
  return settings;
}

/// A command of the AdminServer.
export async function command(name) {
  const { command_url: url } = await readSettings();
  const body = await json(`${url === "/" ? "" : url}/${name}`);
  if (body.error) throw new NoAnswer(body.error, 200);
  return body;
}
