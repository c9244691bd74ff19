// Chat, as on the lecture's last slide: now and then an answer comes twice, and the conversation goes on with the one that is preferred.
import { $, answer, api, choose, number, raterField, rendered, shaded, talkers, toast } from "./studio.js";

export default async function (main) {
  const known = await talkers(main);
  if (known.length === 0) return;
  let talk = fresh(), stop = null, last = null;

  function fresh() { return { id: crypto.randomUUID(), title: "", model: known[0], messages: [] }; }

  const list = $("ul"), turns = $("div", { className: "turns", role: "log", "aria-label": "Conversation", tabIndex: 0 });
  const model = choose("Model", known), system = $("textarea", { rows: 2 });
  const temperature = number("Temperature", 0.7, { min: 0, max: 2, step: 0.1 }), topP = number("Top p", 0.95, { min: 0.05, max: 1, step: 0.05 }), most = number("Tokens at most", 200, { min: 1, max: 4096 });
  const rate = number("Ask every", localStorage.getItem("rate") ?? 4, { min: 0, max: 100, title: "Every so many answers come twice and ask which you prefer; 0: never" });
  const rater = raterField();
  const probabilities = $("input", { type: "checkbox", onchange: draw });
  const input = $("textarea", { rows: 2, placeholder: "Say something (Enter sends, Shift+Enter begins a line)", "aria-label": "Your message" });
  const send = $("button", { className: "main", onclick: () => say() }, "Send"), twice = $("button", { onclick: () => say(true), title: "Two answers, side by side" }, "Ask twice"), halt = $("button", { onclick: () => stop?.abort(), hidden: true }, "Stop");
  input.addEventListener("keydown", e => { if (e.key === "Enter" && !e.shiftKey && !e.isComposing) { e.preventDefault(); say(); } });
  rate.lastChild.addEventListener("change", e => localStorage.setItem("rate", e.target.value));
  main.append($("div", { className: "chat" },
    $("aside", { "aria-label": "Conversations" }, $("button", { onclick: () => open(fresh()) }, "New conversation"), list),
    $("section", { className: "talk" }, turns,
      $("div", { className: "say" }, $("div", { className: "line" }, input, send, twice, halt),
        $("details", {}, $("summary", {}, "Settings"), $("div", { className: "settings" }, model, temperature, topP, most, rate, rater.field, $("label", {}, probabilities, "token probabilities"), $("label", { className: "above" }, "System prompt", system)))))));

  const settings = extra => ({
    model: model.lastChild.value, temperature: +temperature.lastChild.value, top_p: +topP.lastChild.value, max_tokens: +most.lastChild.value, logprobs: true, top_logprobs: 5, ...extra,
    messages: [...(system.value.trim() ? [{ role: "system", content: system.value.trim() }] : []), ...talk.messages.map(({ role, content }) => ({ role, content }))],
  });

  function turn(message, isLast) {
    const box = $("article", { className: `card turn ${message.role}` }, $("div", { className: "who" }, message.role === "user" ? "You" : message.model ?? talk.model), probabilities.checked && message.tokens?.length ? shaded(message.tokens) : rendered(message.content));
    if (isLast && message.role === "assistant") box.append($("div", { className: "tools" }, $("button", { onclick: again }, "Regenerate")));
    return box;
  }

  function draw() {
    turns.replaceChildren(...talk.messages.map((m, i) => turn(m, i === talk.messages.length - 1)));
    turns.scrollTop = turns.scrollHeight;
  }

  async function refresh() {
    const all = await api("api/conversations");
    list.replaceChildren(...all.map(c => $("li", { "aria-current": String(c.id === talk.id) },
      $("button", { onclick: async () => open(await api(`api/conversations/${c.id}`)), title: c.title }, c.title),
      $("button", { "aria-label": `Delete ${c.title}`, onclick: async () => { await api(`api/conversations/${c.id}`, { method: "DELETE" }); if (c.id === talk.id) open(fresh()); else refresh(); } }, "×"))));
  }

  function open(conversation) {
    stop?.abort();
    talk = { ...conversation, messages: [...conversation.messages] };
    if (talk.messages[0]?.role === "system") system.value = talk.messages.shift().content;
    if (known.includes(talk.model)) model.lastChild.value = talk.model;
    draw();
    refresh();
    input.focus();
  }

  async function keep() {
    talk.model = model.lastChild.value;
    talk.title ||= [...talk.messages[0].content].slice(0, 60).join("");
    await api(`api/conversations/${talk.id}`, { method: "PUT", body: { title: talk.title, model: talk.model, messages: settings().messages } });
    refresh();
  }

  // One stream into one box; what came before a stop is kept.
  async function stream(box, body, signal) {
    const said = { role: "assistant", content: "", model: body.model, tokens: [] };
    try {
      for await (const piece of answer(body, signal)) {
        said.content += piece.text;
        said.tokens.push(...piece.tokens);
        box.replaceChildren(rendered(said.content));
        turns.scrollTop = turns.scrollHeight;
      }
    } catch (error) { if (error.name !== "AbortError") throw error; }
    said.content = said.content.trim();
    return said;
  }

  function busy(on) { send.disabled = twice.disabled = on; halt.hidden = !on; }

  async function say(both = false) {
    const text = input.value.trim();
    if (!text || stop) return;
    input.value = "";
    talk.messages.push({ role: "user", content: text });
    draw();
    const every = +rate.lastChild.value, answers = talk.messages.filter(m => m.role === "assistant").length + 1;
    await (both || (every > 0 && answers % every === 0) ? ask() : respond());
  }

  async function again() {
    if (stop || talk.messages.at(-1)?.role !== "assistant") return;
    talk.messages.pop();
    draw();
    await respond();
  }

  async function respond() {
    const current = talk, body = $("div"), box = $("article", { className: "card turn assistant", "aria-busy": "true" }, $("div", { className: "who" }, model.lastChild.value), body);
    turns.append(box);
    turns.scrollTop = turns.scrollHeight;
    stop = new AbortController();
    busy(true);
    try {
      const said = await stream(body, settings(), stop.signal);
      if (talk === current && said.content) { talk.messages.push(said); await keep(); }
    } catch (error) { toast(error.message); }
    finally { stop = null; busy(false); if (talk === current) draw(); }
  }

  async function ask() {
    const current = talk, boxes = [$("div"), $("div")], controller = stop = new AbortController();
    const buttons = [1, 2].map(n => $("button", { disabled: true, onclick: () => prefer(n - 1) }, `I prefer response ${n}`)), tie = $("button", { disabled: true, onclick: () => prefer(0, "tie") }, "Both are as good");
    const panel = $("section", { className: "ask", "aria-label": "Which response do you prefer?" }, $("h2", {}, "Which response do you prefer? The conversation goes on with it."),
      $("div", { className: "pair" }, ...boxes.map((b, i) => $("div", { className: "card answer" }, $("h3", {}, `Response ${i + 1}`), b, $("div", { className: "tools" }, buttons[i])))), $("div", { className: "choices" }, tie));
    turns.append(panel);
    turns.scrollTop = turns.scrollHeight;
    busy(true);
    const prompt = settings().messages;
    let said;
    try { said = await Promise.all(boxes.map(b => stream(b, settings(), controller.signal))); }
    catch (error) { toast(error.message); panel.remove(); return; }
    finally { stop = null; busy(false); }
    if (talk !== current) return;
    for (const button of [...buttons, tie]) button.disabled = false;
    buttons[0].focus();

    async function prefer(index, choice = ["first", "second"][index]) {
      for (const button of [...buttons, tie]) button.disabled = true;
      await api("api/votes", { method: "POST", body: { rater: rater.name(), messages: prompt, first: said[0].content, second: said[1].content, first_model: said[0].model, second_model: said[1].model, choice } });
      talk.messages.push(said[index]);
      draw();
      await keep();
      input.focus();
    }
  }

  await refresh();
  input.focus();
  return () => stop?.abort();
}
