// What every page needs: the server's JSON, its streams, text that a model wrote, and elements.
import { marked } from "./vendor/marked.js";
import DOMPurify from "./vendor/purify.js";
import katex from "./vendor/katex/katex.js";

// HTML that a model writes is text, not markup; its headings are none of this page's.
const escaped = text => text.replace(/[&<>"']/g, c => `&#${c.charCodeAt(0)};`);
marked.use({ renderer: { html: ({ text }) => escaped(text), heading({ tokens }) { return `<p><strong>${this.parser.parseInline(tokens)}</strong></p>`; } } });

export const $ = (name, properties = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && key !== "list") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter(c => c !== null && c !== undefined));
  return element;
};

export function toast(message) {
  const box = document.getElementById("toast");
  box.textContent = message;
  box.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { box.hidden = true; }, 6000);
}

async function askKey() {
  const dialog = document.getElementById("key");
  if (!dialog.open) dialog.showModal();
  await new Promise(done => dialog.addEventListener("close", done, { once: true }));
  sessionStorage.setItem("key", document.getElementById("keyinput").value);
}

/** A request; errors are the server's own words. */
export async function request(path, { method = "GET", body, signal, raw } = {}) {
  const headers = {};
  const key = sessionStorage.getItem("key");
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = raw ? "application/x-ndjson" : "application/json";
  const response = await fetch(path, { method, headers, signal, body: body === undefined || raw ? body : JSON.stringify(body) });
  if (response.status === 401) { await askKey(); return request(path, { method, body, signal, raw }); }
  if (!response.ok) throw new Error((await response.json().catch(() => null))?.error?.message ?? `The server answered ${response.status}.`);
  return response;
}

export const api = async (path, options) => (await request(path, options)).json();

/** Server-sent events of a response, as they come. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    for (let end; (end = held.indexOf("\n\n")) >= 0; held = held.slice(end + 2)) {
      const event = { name: "message", data: "" };
      for (const line of held.slice(0, end).split("\n")) {
        if (line.startsWith("event: ")) event.name = line.slice(7);
        else if (line.startsWith("data: ")) event.data += line.slice(6);
      }
      yield event;
    }
  }
}

/** A chat completion, piece by piece: { text, tokens, finish }. */
export async function* answer(body, signal) {
  const response = await request("v1/chat/completions", { method: "POST", body: { ...body, stream: true }, signal });
  for await (const { data } of events(response)) {
    if (data === "[DONE]") return;
    const json = JSON.parse(data);
    if (json.error) throw new Error(json.error.message);
    const choice = json.choices[0];
    if (choice) yield { text: choice.delta.content ?? "", tokens: choice.logprobs?.content ?? [], finish: choice.finish_reason };
  }
}

// Formulas: TeX between $…$, $$…$$, \(…\) and \[…\]; a line that is an equation in plain characters is one too.
const tex = /\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\]|\\\(([\s\S]+?)\\\)|\$([^\s$](?:[^$\n]*[^\s$])?)\$(?!\d)/g;
const equation = /^[ \t]*([A-Za-z]\w{0,4}'?[ \t]*=[ \t]*(?=[^\n]*[*\/^])[\w\s.()*\/^+'-]+)$/gm;

const mark = "\uE000";   // of private use: stands where a formula will, through Markdown and cleaning

function fromPlain(text) {
  let out = text.trim();
  for (let before; before !== out;) {   // (a / b)^(c), the innermost first
    before = out;
    out = out.replace(/\^\(([^()]*)\)/g, "^{$1}").replace(/\(([^()\/]+)\s*\/\s*([^()\/]+)\)/g, "{\\left(\\frac{$1}{$2}\\right)}").replace(/\((\{\\left.*?\\right\)\}(?:\^\{[^}]*\})?)\)/g, "$1");
  }
  return out.replace(/\b([A-Z])([a-z]\w*)('?)/g, (_, a, b, prime) => /^(left|right|frac)$/.test(a + b) ? a + b : `${a}_{${b}${prime}}`).replace(/\*/g, " \\cdot ");
}

/** Text of a model as elements: it is hostile until it is cleaned. */
export function rendered(text) {
  const formulas = [];
  const keep = (source, display) => `${mark}${formulas.push({ source, display }) - 1}${mark}`;
  const marks = text.replaceAll(mark, "")
    .replace(tex, (_, a, b, c, d) => keep(a ?? b ?? c ?? d, a !== undefined || b !== undefined))
    .replace(equation, line => keep(fromPlain(line), true));
  const box = $("div", { className: "text" });
  box.innerHTML = DOMPurify.sanitize(marked.parse(marks, { breaks: true, async: false }), { USE_PROFILES: { html: true }, FORBID_TAGS: ["style", "form", "img", "input", "iframe"], FORBID_ATTR: ["style", "class", "id"] });
  for (const link of box.querySelectorAll("a")) { link.rel = "noopener noreferrer nofollow"; link.target = "_blank"; }
  const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) if (walker.currentNode.data.includes(mark)) found.push(walker.currentNode);
  for (const node of found) node.replaceWith(...node.data.split(mark).map((part, i) => {
    if (i % 2 === 0) return part;
    if (!formulas[part]) return part;   // an entity may make a mark of its own
    const { source, display } = formulas[part], span = $("span");
    try { katex.render(source, span, { displayMode: display, throwOnError: true, strict: false, trust: false, maxSize: 20, maxExpand: 200 }); }
    catch { span.textContent = source; }
    return span;
  }));
  return box;
}

/** Tokens with their probabilities. */
export function shaded(tokens) {
  return $("div", { className: "tokens" }, ...tokens.map(t => {
    const p = Math.exp(t.logprob), others = (t.top_logprobs ?? []).map(o => `${JSON.stringify(o.token)} ${(100 * Math.exp(o.logprob)).toFixed(1)} %`).join("\n");
    return $("span", { className: `token ${p < 0.1 ? "p1" : p < 0.4 ? "p2" : p < 0.8 ? "p3" : ""}`, title: `${(100 * p).toFixed(1)} %${others ? "\n" + others : ""}` }, t.token);
  }));
}

export const models = async kind => (await api("v1/models")).data.filter(m => !kind || m.kind === kind);

/** Names of the models that talk; where there is none, the page says so. */
export async function talkers(main) {
  const names = (await models("chat")).map(m => m.id);
  if (names.length === 0) main.append($("p", { className: "page" }, "No model that talks is served. Start lect serve with the folder of a decoder."));
  return names;
}

/** Who votes, on every page that asks. */
export function raterField() {
  const input = $("input", { value: localStorage.getItem("rater") ?? "", maxLength: 100, placeholder: "anonymous", onchange: e => localStorage.setItem("rater", e.target.value) });
  return { field: $("label", { className: "above" }, "Your name as a rater", input), name: () => input.value.trim() || "anonymous" };
}

export const choose = (label, options, properties = {}) => $("label", { className: "above" }, label, $("select", properties, ...options.map(o => $("option", { value: o }, o))));
export const number = (label, value, properties) => $("label", { className: "above" }, label, $("input", { type: "number", value, ...properties }));

const pages = { chat: "chat", compare: "compare", attention: "attention", vectors: "vectors", runs: "runs", data: "data" };
let leave = null, shown = 0;

async function show() {
  const name = pages[location.hash.slice(1)] ?? "chat", main = document.getElementById("main"), mine = ++shown, box = $("div", { className: "box" });
  for (const link of document.querySelectorAll("nav a")) link.hash === `#${name}` ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  leave?.();
  leave = null;
  main.replaceChildren(box);
  try {
    const end = await (await import(`./${name}.js`)).default(box) ?? null;
    if (mine === shown) leave = end;
    else end?.();   // another page was opened meanwhile
  } catch (error) { if (mine === shown) toast(error.message); }
}
addEventListener("hashchange", show);
addEventListener("unhandledrejection", event => { if (event.reason?.name !== "AbortError") toast(event.reason?.message ?? "Something went wrong."); event.preventDefault(); });
show();
