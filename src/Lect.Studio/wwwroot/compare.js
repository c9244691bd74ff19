// Two answers side by side, in random and blind order; the votes are training data.
import { $, answer, api, choose, number, raterField, rendered, request, talkers, toast } from "./studio.js";

export default async function (main) {
  const known = await talkers(main);
  if (known.length === 0) return;
  const prompts = await api("api/prompts");
  let pair = null, controller = null, at = Math.floor(Math.random() * prompts.length);
  const sides = ["First model", "Second model"].map((label, i) => ({ model: choose(label, known, { value: known[Math.min(i, known.length - 1)] }), temperature: number("Temperature", 0.8, { min: 0, max: 2, step: 0.1 }) }));
  sides[1].model.lastChild.value = known[Math.min(1, known.length - 1)];
  const most = number("Tokens at most", 120, { min: 1, max: 4096 }), prompt = $("textarea", { rows: 2, "aria-label": "Prompt", value: prompts[at] ?? "" });
  const rater = raterField();
  const comment = $("input", { "aria-label": "Comment", placeholder: "Why? (optional)", size: 40 });
  const boxes = [$("div", { "aria-live": "off" }), $("div", { "aria-live": "off" })], names = [$("span"), $("span")];
  const buttons = [["first", "1", "Response 1"], ["second", "2", "Response 2"], ["tie", "0", "A tie"], ["bad", "x", "Both are bad"]].map(([choice, key, label]) => $("button", { disabled: true, onclick: () => vote(choice), "data-choice": choice }, label, " ", $("kbd", {}, key)));
  const go = $("button", { className: "main", onclick: ask }, "Ask both"), next = $("button", { onclick: () => { at = (at + 1) % prompts.length; prompt.value = prompts[at]; ask(); } }, "Next prompt ", $("kbd", {}, "n"));
  const numbers = $("div"), file = $("input", { type: "file", accept: ".jsonl", hidden: true, onchange: bring });
  main.append($("div", { className: "page" }, $("h2", {}, "Which response do you prefer?"),
    $("div", { className: "row" }, sides[0].model, sides[0].temperature, sides[1].model, sides[1].temperature, most, rater.field),
    $("div", { className: "row" }, prompt, go, next),
    $("div", { className: "pair" }, ...boxes.map((b, i) => $("section", { className: "card answer", "aria-label": `Response ${i + 1}` }, $("h3", {}, `Response ${i + 1} `, names[i]), b))),
    $("div", { className: "choices" }, ...buttons, comment),
    $("h2", {}, "Votes"), numbers,
    $("div", { className: "row" }, $("button", { onclick: () => save(false) }, "Export for align reward and dpo"), $("button", { onclick: () => save(true) }, "Export with ties"), $("button", { onclick: () => file.click() }, "Import"), file)));

  async function ask() {
    const text = prompt.value.trim();
    if (!text) { prompt.focus(); return; }
    controller?.abort();
    controller = new AbortController();
    const signal = controller.signal, order = Math.random() < 0.5 ? [0, 1] : [1, 0];   // blind: nobody sees which is which
    const mine = pair = { messages: [{ role: "user", content: text }], said: ["", ""], models: order.map(i => sides[i].model.lastChild.value), isVoted: false };
    for (const button of buttons) button.disabled = true;
    for (const name of names) name.textContent = "";
    for (const box of boxes) box.replaceChildren();
    try {
      await Promise.all(order.map(async (side, place) => {
        for await (const piece of answer({ model: mine.models[place], messages: mine.messages, temperature: +sides[side].temperature.lastChild.value, max_tokens: +most.lastChild.value }, signal)) {
          mine.said[place] += piece.text;
          boxes[place].replaceChildren(rendered(mine.said[place]));
        }
      }));
      for (const button of buttons) button.disabled = false;
      buttons[0].focus({ preventScroll: true });
    } catch (error) { if (error.name !== "AbortError") toast(error.message); }
  }

  async function vote(choice) {
    if (!pair || pair.isVoted || buttons[0].disabled) return;
    const mine = pair;
    mine.isVoted = true;
    for (const button of buttons) button.disabled = true;
    let stored;
    try { ({ stored } = await api("api/votes", { method: "POST", body: { rater: rater.name(), messages: mine.messages, first: mine.said[0].trim(), second: mine.said[1].trim(), first_model: mine.models[0], second_model: mine.models[1], choice, comment: comment.value } })); }
    catch (error) {
      toast(error.message);
      mine.isVoted = false;
      if (pair === mine) for (const button of buttons) button.disabled = false;
      return;
    }
    comment.value = "";
    if (pair !== mine) return count();   // the next pair is being asked: what this one was would say what that one is
    names.forEach((name, i) => { name.textContent = `was ${mine.models[i]}`; });
    if (!stored) toast("You have given this vote before; it counts once.");
    await count();
    next.focus({ preventScroll: true });
  }

  async function count() {
    const s = await api("api/votes/statistics"), percent = x => `${(100 * x).toFixed(1)} %`, fixed = x => x === null || x === undefined ? "—" : x.toFixed(2);
    const table = $("table", {}, $("thead", {}, $("tr", {}, ...["model", "votes", "won", "95 %", "strength", "95 %"].map((h, i) => $("th", { className: i ? "number" : "" }, h)))),
      $("tbody", {}, ...(s.models ?? []).map(m => $("tr", {}, $("td", {}, m.model), ...[m.votes, percent(m.rate), `${percent(m.low)} to ${percent(m.high)}`, fixed(m.strength), m.strength_low === null || m.strength_high === null ? "—" : `${fixed(m.strength_low)} to ${fixed(m.strength_high)}`].map(t => $("td", { className: "number" }, String(t)))))));
    numbers.replaceChildren($("p", { className: "dim", id: "counted" }, `${s.votes} votes of ${Object.keys(s.raters).length} raters (first ${s.choices.first}, second ${s.choices.second}, ties ${s.choices.tie}, both bad ${s.choices.bad})${s.agreement ? `; ${s.agreement.items} seen by several, agreement (Krippendorff's alpha) ${fixed(s.agreement.alpha)}${s.agreement.kappa === null ? "" : `, Cohen's kappa ${fixed(s.agreement.kappa)}`}` : ""}.`), ...(s.models?.length ? [table] : []));
  }

  async function save(ties) {
    const blob = await (await request(`api/votes?ties=${ties}`)).blob(), url = URL.createObjectURL(blob);
    $("a", { href: url, download: "votes.jsonl" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  async function bring() {
    if (!file.files[0]) return;
    try {
      const found = await api("api/votes/import", { method: "POST", body: await file.files[0].text(), raw: true });
      toast(`${found.stored} votes imported, ${found.known} known already.`);
      await count();
    } catch (error) { toast(error.message); }
    file.value = "";
  }

  function keys(e) {
    if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName)) return;
    const choice = { 1: "first", 2: "second", 0: "tie", x: "bad" }[e.key];
    if (choice) vote(choice);
    else if (e.key === "n") next.click();
  }
  addEventListener("keydown", keys);
  await count();
  return () => { removeEventListener("keydown", keys); controller?.abort(); };
}
