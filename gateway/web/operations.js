// The read models and how far they are behind, and the live tail of the log.
import { api, authorization, badge, count, el, failed, form, table } from "./dom.js";

const REFRESH_MS = 2000;
const KEPT_EVENTS = 200;

export function projections(page) {
  const out = el("div"), note = el("p", { className: "muted", role: "status" });
  page.main.replaceChildren(out, note);
  const signal = page.begin();
  const show = async () => {
    try {
      const list = (await api("/v1/projections", signal)).projections;
      out.replaceChildren(table([
        { title: "Projection", value: (p) => p.name }, { title: "State", value: (p) => badge(p.state) },
        { title: "Generation", number: true, value: (p) => p.generation }, { title: "Checkpoint", number: true, value: (p) => count(p.checkpoint) },
        { title: "Head", number: true, value: (p) => count(p.head) }, { title: "Lag", number: true, value: (p) => count(p.lag) },
        { title: "Dead letters", number: true, value: (p) => count(p.dead_letters) }, { title: "Reason", value: (p) => p.reason ?? (p.building ? `generation ${p.building.generation} is being built, at ${count(p.building.checkpoint)}` : "") },
      ], list));
      note.textContent = "Lag is in log positions. This page refreshes itself.";
    } catch (error) {
      if (signal.aborted) return;
      note.replaceChildren(failed(error));
    }
    if (!signal.aborted) setTimeout(() => { if (!signal.aborted) show(); }, REFRESH_MS);
  };
  show();
}

export function log(page, argument = "") {
  const wanted = new URLSearchParams(argument);
  const body = el("tbody"), note = el("p", { className: "muted", role: "status", textContent: "Connecting…" });
  const box = form([
    { name: "type", label: "Event type, such as order.placed", value: wanted.get("type") },
    { name: "stream_prefix", label: "Streams that start with", value: wanted.get("stream_prefix") },
  ], (f) => {
    const chosen = Object.entries(f).map(([name, value]) => [name, value.trim()]).filter(([, value]) => value);
    location.hash = `log/${encodeURIComponent(new URLSearchParams(chosen))}`;
  }, "Follow");
  const head = ["Position", "Stream", "Revision", "Event", "By", "Data"].map((title, at) => el("th", { className: at === 0 || at === 2 ? "n" : "", textContent: title }));
  page.main.replaceChildren(box, note, el("div", { className: "wide" }, el("table", {}, el("thead", {}, el("tr", {}, ...head)), body)));
  const signal = page.begin();
  follow(wanted, body, note, signal).catch((error) => { if (!signal.aborted) note.replaceChildren(failed(error)); });
}

// fetch instead of EventSource, which cannot send a key.
async function follow(wanted, body, note, signal) {
  const head = Number((await api("/v1/operations/head", signal)).position);
  const query = new URLSearchParams(wanted);
  query.set("from", String(Math.max(0, head - (wanted.size ? 10000 : 25))));
  const answer = await fetch(`/v1/events?${query}`, { headers: { accept: "text/event-stream", ...authorization() }, signal });
  if (!answer.ok) { const problem = await answer.json(); throw new Error(`${problem.detail} (${problem.code})`); }
  note.textContent = `Live, newest first; the latest ${KEPT_EVENTS} are kept.`;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) { note.textContent = "The server ended the stream; open this page again to go on."; return; }
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    const rows = parts.map(parsed).filter((event) => event).slice(-KEPT_EVENTS).map(row).reverse();
    body.prepend(...rows);
    while (body.children.length > KEPT_EVENTS) body.lastChild.remove();
  }
}

function parsed(part) {
  const data = part.split("\n").find((line) => line.startsWith("data:"));
  return data ? JSON.parse(data.slice(5)) : null;
}

function row(e) {
  const cells = [["n", e.position], ["long", e.stream], ["n", e.revision], ["", e.type], ["", e.metadata?.actor ?? "–"]];
  return el("tr", {}, ...cells.map(([className, textContent]) => el("td", { className, textContent })), el("td", { className: "data" }, el("code", { textContent: JSON.stringify(e.data) })));
}
