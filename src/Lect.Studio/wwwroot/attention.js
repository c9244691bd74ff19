// Every layer and head of a model that is served, for any text.
import { $, api, choose, models, toast } from "./studio.js";

export default async function (main) {
  const known = await models();
  if (known.length === 0) { main.append($("p", { className: "page" }, "No model is served.")); return; }
  const model = choose("Model", known.map(m => m.id)), text = $("input", { value: "She is eating a green apple.", size: 50 }), pair = $("input", { size: 30 });
  const second = $("label", { className: "above" }, "Second text", pair), view = $("iframe", { className: "view", title: "Attention", hidden: true });
  const form = $("form", { className: "row", onsubmit: show }, model, $("label", { className: "above" }, "Text", text), second, $("button", { className: "main" }, "Show"));
  model.lastChild.addEventListener("change", fit);
  main.append($("div", { className: "page" }, form, view));
  fit();

  function fit() { second.hidden = known.find(m => m.id === model.lastChild.value).kind === "chat"; }

  async function show(e) {
    e?.preventDefault();
    try {
      const body = { model: model.lastChild.value, text: text.value };
      if (!second.hidden && pair.value.trim()) body.pair = pair.value;
      view.src = (await api("api/attention", { method: "POST", body })).view;
      view.hidden = false;
    } catch (error) { toast(error.message); }
  }
}
