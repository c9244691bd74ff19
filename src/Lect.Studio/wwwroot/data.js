// Data sets page by page; with a model, a conversation as its template renders it, what is learned in colour.
import { $, api, choose, models, toast } from "./studio.js";

export default async function (main) {
  const files = await api("api/data");
  if (files.length === 0) { main.append($("p", { className: "page" }, "No data sets are here. Start lect serve with --data FOLDER.")); return; }
  const file = choose("Data set", files), model = choose("Rendered for", ["(as it is)", ...(await models("chat")).map(m => m.id)]), rows = $("div", { className: "rows" });
  let from = 0;
  const back = $("button", { onclick: () => go(from - 20) }, "Back"), on = $("button", { onclick: () => go(from + 20) }, "On"), where = $("span", { className: "dim" });
  for (const select of [file.lastChild, model.lastChild]) select.addEventListener("change", () => go(select === file.lastChild ? 0 : from));
  main.append($("div", { className: "page" }, $("div", { className: "row" }, file, model, back, on, where), rows));
  await go(0);

  async function go(to) {
    from = Math.max(0, to);
    try {
      const of = model.lastChild.selectedIndex > 0 ? `&model=${encodeURIComponent(model.lastChild.value)}` : "";
      const page = await api(`api/data/page?file=${encodeURIComponent(file.lastChild.value)}&from=${from}${of}`);
      back.disabled = from === 0;
      on.disabled = !page.more;
      where.textContent = `rows ${from + 1} to ${from + page.rows.length}`;
      rows.replaceChildren(...page.rows.map(({ row, tokens }) => $("article", { className: "card" }, Array.isArray(tokens)
        ? $("div", { className: "tokens" }, ...tokens.map(t => $("span", { className: t.learned ? "learned" : "", title: `${t.tokens} tokens${t.learned ? ", learned" : ""}` }, t.text)))
        : $("div", {}, ...(tokens?.error ? [$("p", { className: "dim" }, tokens.error)] : []), $("dl", {}, ...Object.entries(row).flatMap(([k, v]) => [$("dt", {}, k), $("dd", {}, typeof v === "string" ? v : JSON.stringify(v))]))))));
    } catch (error) { toast(error.message); }
  }
}
