// Words beside words.
import { $, api, choose, toast } from "./studio.js";

export default async function (main) {
  const known = await api("api/vectors");
  if (known.length === 0) { main.append($("p", { className: "page" }, "No word vectors are served. Start lect serve with --vectors FOLDER (lect train word2vec, or lect train glove, makes some).")); return; }
  const which = choose("Vectors", known.map(v => v.name)), word = $("input", { value: "string", size: 20 }), parts = ["man", "king", "woman"].map(w => $("input", { value: w, size: 10 }));
  const found = $("div"), view = $("iframe", { className: "view", title: "Words in the plane", hidden: true });
  const at = path => `api/vectors/${encodeURIComponent(which.lastChild.value)}/${path}`;
  main.append($("div", { className: "page" },
    $("form", { className: "row", onsubmit: e => ask(e, `nearest?word=${encodeURIComponent(word.value.trim())}`) }, which, $("label", { className: "above" }, "Word", word), $("button", { className: "main" }, "Nearest")),
    $("form", { className: "row", onsubmit: e => ask(e, `analogy?${["a", "b", "c"].map((k, i) => `${k}=${encodeURIComponent(parts[i].value.trim())}`).join("&")}`) }, ...["", "is to", "as"].map((l, i) => $("label", { className: "above" }, l || "Analogy", parts[i])), $("button", {}, "is to what?")),
    found, $("div", { className: "row" }, $("button", { onclick: map }, "Draw the first 400 words")), view));

  async function ask(e, path) {
    e.preventDefault();
    try {
      const words = await api(at(path));
      found.replaceChildren($("table", {}, $("thead", {}, $("tr", {}, $("th", {}, "word"), $("th", { className: "number" }, "cosine"))), $("tbody", {}, ...words.map(w => $("tr", {}, $("td", {}, w.word), $("td", { className: "number" }, w.similarity.toFixed(3)))))));
    } catch (error) { toast(error.message); }
  }

  async function map() {
    try { view.src = (await api(at("map"), { method: "POST", body: {} })).view; view.hidden = false; }
    catch (error) { toast(error.message); }
  }
}
