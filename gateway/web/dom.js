// What every page needs: elements, figures, and the API. Text from the server only ever becomes a text node.

export const el = (tag, props = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
};

const svg = (tag, attributes, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};

export const link = (to, text) => el("a", { href: `#${to.map(encodeURIComponent).join("/")}`, textContent: text });

// Digits before the point in groups; the digits are never parsed, so none is lost.
const grouped = (digits) => String(digits).replace(/^(-?\d+)/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, "\u202f"));

export const count = (n) => (n === null || n === undefined ? "–" : grouped(n));
export const money = (m) => (m ? `${grouped(m.amount)} ${m.currency}` : "–");
export const moment = (text) => (text ? text.replace("T", " ").replace(/(\.\d+)?Z$/, "") : "–");
export const words = (name) => String(name ?? "–").replaceAll("_", " ");

// A price with the crossed-out one that it is compared with.
export function price(p) {
  if (!p) return "–";
  if (!p.compare_at) return money(p);
  return el("span", {}, el("s", { className: "muted", textContent: grouped(p.compare_at) }), " ", money(p));
}

export function badge(word) {
  const good = ["active", "running", "delivered", "completed", "paid", "in stock"];
  const bad = ["halted", "stopped", "degraded", "retrying", "payment_failed", "cancelled", "out of stock", "low stock"];
  const kind = good.includes(word) ? " good" : bad.includes(word) ? " warn" : "";
  return el("span", { className: `badge${kind}`, textContent: words(word) });
}

export function attributes(list) {
  const one = (a) => {
    const swatch = a.hex ? el("i", { className: "swatch" }) : null;
    if (swatch) swatch.style.backgroundColor = a.hex;
    return el("span", { className: "badge", title: a.type }, swatch, a.display || a.value);
  };
  return list?.length ? el("span", {}, ...list.map(one)) : "–";
}

export function table(columns, rows, nothing = "Nothing here.") {
  if (!rows.length) return el("p", { className: "muted", textContent: nothing });
  const cell = (tag, column, content) =>
    el(tag, { className: column.number ? "n" : "" }, content instanceof Node ? content : String(content ?? "–"));
  return el("div", { className: "wide" }, el("table", {},
    el("thead", {}, el("tr", {}, ...columns.map((c) => cell("th", c, c.title)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...columns.map((c) => cell("td", c, c.value(row))))))));
}

export const tiles = (pairs) =>
  el("div", { className: "tiles" }, ...pairs.map(([name, value]) => el("div", { className: "tile" }, name, el("b", {}, value))));

export function form(fields, submit, label) {
  const inputs = fields.map((f) => (f.options
    ? el("select", { name: f.name, ariaLabel: f.label }, ...f.options.map(([value, text]) => el("option", { value, textContent: text, selected: value === (f.value ?? "") })))
    : el("input", { name: f.name, placeholder: f.label, value: f.value ?? "", ariaLabel: f.label })));
  const node = el("form", {}, ...inputs, el("button", { textContent: label }));
  node.addEventListener("submit", (event) => { event.preventDefault(); submit(Object.fromEntries(new FormData(node))); });
  for (const select of node.querySelectorAll("select")) select.addEventListener("change", () => node.requestSubmit());
  return node;
}

// Bars, one a point: {label, value} with value a number that is only drawn.
export function bars(points) {
  const most = Math.max(...points.map((p) => p.value), 0);
  if (!(most > 0)) return el("p", { className: "muted", textContent: "No sales in this period." });
  const step = 1000 / points.length;
  const bar = (p, at) => {
    const height = Math.max(0, (p.value / most) * 160);
    return svg("rect", { x: at * step, y: 165 - height, width: Math.max(step * 0.8, 0.5), height }, svg("title", {}, p.label));
  };
  return el("figure", {},
    svg("svg", { viewBox: "0 0 1000 166", preserveAspectRatio: "none", role: "img", "aria-label": "Gross revenue a day" }, ...points.map(bar)),
    el("figcaption", { className: "muted" }, el("span", { textContent: points[0].name }), el("span", { textContent: points.at(-1).name })));
}

export const failed = (error) => el("p", { className: "bad", role: "alert", textContent: error.message });

// What is shown last wins: starting anew drops the answers that are still on their way.
export class Page {
  #under = new AbortController();
  constructor(main) { this.main = main; }
  leave() { this.#under.abort(); }
  // Starts anew; gives the signal that ends when something newer starts.
  begin() { this.leave(); this.#under = new AbortController(); return this.#under.signal; }
  async fill(target, work) {
    const signal = this.begin();
    target.setAttribute("aria-busy", "true");
    try {
      const content = await work(signal);
      if (!signal.aborted) target.replaceChildren(...[content].flat());
    } catch (error) {
      if (!signal.aborted) target.replaceChildren(failed(error));
    } finally {
      if (!signal.aborted) target.removeAttribute("aria-busy");
    }
  }
}

export function authorization() {
  const key = document.getElementById("key")?.value;
  return key ? { authorization: `Bearer ${key}` } : {};
}

export async function api(path, signal) {
  const answer = await fetch(path, { headers: authorization(), signal });
  const body = await answer.json();
  if (answer.ok) return body;
  const error = new Error(`${body.detail} (${body.code})`);
  error.status = answer.status;
  throw error;
}

export const unless = (status, otherwise) => (error) => {
  if (error.status === status) return otherwise;
  throw error;
};
