// Curves of run folders, several over each other, live while they train.
import uPlot from "./vendor/uplot.js";
import { $, api, events, request, toast } from "./studio.js";

const colours = ["#b3401f", "#2f6f9f", "#3f8f4f", "#8a5fb0", "#b08a1f", "#1f8f8f", "#c05080", "#707070"];
const first = ["val_loss", "loss", "lr", "tokens_per_second"];

export default async function (main) {
  const all = await api("api/runs");
  if (all.length === 0) { main.append($("p", { className: "page" }, "No runs are here. Start lect serve with --runs FOLDER, where lect train put its folders.")); return; }
  const chosen = new Map(), samples = new Map(), list = $("fieldset", { className: "row", "aria-label": "Runs" }), plots = $("div", { className: "plots" }), about = $("div");
  const filter = $("input", { placeholder: "name or part of it", oninput: () => draw() }), smooth = $("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: 0, oninput: () => draw() });
  main.append($("div", { className: "page" }, list, $("div", { className: "row" }, $("label", { className: "above" }, "Figures", filter), $("label", { className: "above" }, "Smoothing", smooth)), plots, about));
  let timer = null;
  for (const run of all) list.append($("label", {}, $("input", { type: "checkbox", value: run.name, onchange: e => e.target.checked ? add(run.name) : remove(run.name) }), run.name, run.is_live ? " (running)" : ""));
  const newest = [...all].sort((a, b) => b.changed.localeCompare(a.changed))[0];
  list.querySelector(`input[value="${CSS.escape(newest.name)}"]`).click();

  async function add(name) {
    const run = { lines: [], stop: new AbortController() };
    chosen.set(name, run);
    tell();
    try {
      for await (const event of events(await request(`api/run/metrics?name=${encodeURIComponent(name)}`, { signal: run.stop.signal }))) {
        if (event.name === "reset") run.lines = [];
        else run.lines.push(...JSON.parse(event.data));
        timer ??= setTimeout(() => { timer = null; draw(); say(); }, 150);
      }
    } catch (error) { if (error.name !== "AbortError") toast(error.message); }
  }

  function remove(name) {
    chosen.get(name)?.stop.abort();
    chosen.delete(name);
    samples.delete(name);
    draw();
    tell();
  }

  async function tell() {
    const parts = await Promise.all([...chosen.keys()].map(async name => ({ name, ...await api(`api/run?name=${encodeURIComponent(name)}`) })));
    about.replaceChildren(...parts.flatMap(p => [$("details", {}, $("summary", {}, `${p.name}: settings`), $("pre", { className: "file", tabIndex: 0 }, p.config ?? "no run.yaml")), $("details", {}, $("summary", {}, `${p.name}: samples`), samples.get(p.name) ?? samples.set(p.name, $("div", { className: "rows" })).get(p.name))]));
  }

  // What the model said at its last evaluations.
  function say() {
    for (const [name, { lines }] of chosen) samples.get(name)?.replaceChildren(...lines.filter(l => typeof l.sample === "string").slice(-5).reverse().map(l => $("article", { className: "card" }, $("div", { className: "who" }, `step ${l.step}`), $("div", { className: "tokens" }, l.sample))));
  }

  function draw() {
    const names = new Set();
    for (const { lines } of chosen.values()) for (const line of lines) for (const [key, value] of Object.entries(line)) if (typeof value === "number" && key !== "step" && key !== "tokens") names.add(key);
    const wanted = [...names].filter(n => n.includes(filter.value.trim())).sort((a, b) => (first.indexOf(a) + 1 || 99) - (first.indexOf(b) + 1 || 99) || a.localeCompare(b)).slice(0, 24);
    const ink = getComputedStyle(document.body).color, short = v => v === null ? "" : v !== 0 && Math.abs(v) < 1e-3 ? v.toExponential(1) : String(+v.toPrecision(4)), axis = { stroke: ink, grid: { stroke: "rgba(128,128,128,.25)" }, ticks: { stroke: "rgba(128,128,128,.25)" } };
    plots.replaceChildren(...wanted.map(name => {
      const box = $("section", { "aria-label": name }, $("h2", {}, name));
      const tables = [...chosen.values()].map(({ lines }) => averaged(lines.filter(l => typeof l[name] === "number").map(l => [l.step, l[name]])));
      const data = uPlot.join(tables.map(t => [t.map(p => p[0]), t.map(p => p[1])]));
      queueMicrotask(() => new uPlot({ width: Math.max(280, box.clientWidth), height: 220, scales: { x: { time: false } }, axes: [axis, { ...axis, size: 60, values: (_, values) => values.map(short) }], series: [{ label: "step" }, ...[...chosen.keys()].map((run, i) => ({ label: run, value: (_, v) => v === null ? "" : short(v), stroke: colours[i % colours.length], width: 1.5, spanGaps: true, points: { show: tables[i].length < 40 } }))] }, data, box));
      return box;
    }));
  }

  function averaged(points) {
    const k = +smooth.value;
    let mean = null;
    return points.map(([x, y]) => [x, mean = mean === null ? y : k * mean + (1 - k) * y]);
  }

  return () => { clearTimeout(timer); for (const run of chosen.values()) run.stop.abort(); };
}
