// The console: a thin client of the public API. Text from the server only ever goes through textContent.
const main = document.getElementById("main");
const key = document.getElementById("key");
key.value = sessionStorage.getItem("daybook-key") || "";
key.addEventListener("change", () => sessionStorage.setItem("daybook-key", key.value));

const el = (tag, props = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
};
const money = (m) => (m ? `${m.amount} ${m.currency}` : "–");

async function api(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (key.value) headers.authorization = `Bearer ${key.value}`;
  const answer = await fetch(path, { ...options, headers });
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${body.code}: ${body.detail}`);
  return body;
}

function table(columns, rows) {
  const cell = (tag, column, content) => el(tag, { className: column.number ? "n" : "" }, content instanceof Node ? content : String(content ?? ""));
  return el("table", {},
    el("thead", {}, el("tr", {}, ...columns.map((c) => cell("th", c, c.title)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...columns.map((c) => cell("td", c, c.value(row)))))));
}

function form(fields, submit, label) {
  const inputs = fields.map((f) => el("input", { name: f.name, placeholder: f.placeholder, value: f.value ?? "", ariaLabel: f.placeholder }));
  const node = el("form", {}, ...inputs, el("button", { textContent: label }));
  node.addEventListener("submit", (event) => { event.preventDefault(); submit(Object.fromEntries(new FormData(node))); });
  return node;
}

const say = (target, error) => target.replaceChildren(el("p", { className: "bad", textContent: error.message }));

function searchTab() {
  const chosen = new Map();
  const results = el("div"), facets = el("div");
  let words = "";
  async function run(cursor) {
    const query = new URLSearchParams({ q: words, limit: "20", facets: "all" });
    for (const [group, values] of chosen) for (const value of values) query.append(group, value);
    if (cursor) query.set("cursor", cursor);
    try {
      const found = await api(`/v1/search?${query}`);
      const rows = table([
        { title: "SKU", value: (h) => el("a", { href: `#stock/${h.variant_id}`, textContent: h.sku }) },
        { title: "Name", value: (h) => h.name }, { title: "Brand", value: (h) => h.brand },
        { title: "Category", value: (h) => h.category }, { title: "Price", number: true, value: (h) => money(h.price?.amount) },
        { title: "In stock", value: (h) => (h.in_stock ? "yes" : "no") }], found.hits);
      const more = found.cursor ? el("button", { textContent: "Next page", onclick: () => run(found.cursor) }) : null;
      results.replaceChildren(el("p", { className: "muted", textContent: `${found.total} found` }), rows, more ?? "");
      facets.replaceChildren(...Object.entries(found.facets || {}).map(([group, values]) => facet(group, values)));
    } catch (error) { say(results, error); }
  }
  function facet(group, values) {
    if (!Array.isArray(values) || group === "price") return el("span");
    const box = el("div", { className: "facet" }, el("h3", { textContent: group }));
    for (const { value, count } of values.slice(0, 12)) {
      const set = chosen.get(group) || new Set();
      const tick = el("input", { type: "checkbox", checked: set.has(String(value)) });
      tick.addEventListener("change", () => { tick.checked ? set.add(String(value)) : set.delete(String(value)); chosen.set(group, set); run(); });
      box.append(el("label", {}, tick, String(value), el("span", { textContent: count })));
    }
    return box;
  }
  main.replaceChildren(form([{ name: "q", placeholder: "Search the catalogue" }], (f) => { words = f.q; run(); }, "Search"), el("div", { className: "split" }, facets, results));
  run();
}

function stockTab(id) {
  const out = el("div");
  async function show(variant) {
    try {
      const [stock, view, history] = await Promise.all([api(`/v1/inventory/${variant}`), api(`/v1/variants/${variant}`).catch(() => null), api(`/v1/streams/inventory-${variant}?limit=50`)]);
      const tile = (name, value) => el("div", { className: "tile" }, name, el("b", { textContent: value }));
      out.replaceChildren(
        el("h2", { textContent: view ? `${view.sku} · ${view.name}` : variant }),
        el("div", { className: "tiles" }, tile("on hand", stock.on_hand), tile("reserved", stock.reserved), tile("available", stock.available), tile("revision", stock.revision)),
        el("h3", { textContent: "History" }), table([
          { title: "Revision", number: true, value: (e) => e.revision }, { title: "Event", value: (e) => e.type },
          { title: "Recorded", value: (e) => e.recorded_at }, { title: "Data", value: (e) => el("code", { textContent: JSON.stringify(e.data) }) }], history.events));
    } catch (error) { say(out, error); }
  }
  main.replaceChildren(form([{ name: "q", placeholder: "Variant id", value: id }], (f) => { location.hash = `stock/${f.q}`; }, "Show"), out);
  if (id) show(id);
}

function ordersTab(id) {
  const out = el("div");
  async function show(query) {
    try {
      if (!query.includes("=")) { out.replaceChildren(el("pre", { textContent: JSON.stringify(await api(`/v1/orders/${query}`), null, 2) })); return; }
      const list = await api(`/v1/orders?${query}`);
      out.replaceChildren(table([
        { title: "Order", value: (o) => el("a", { href: `#orders/${o.order_id}`, textContent: o.order_id }) }, { title: "Customer", value: (o) => o.customer_id ?? "guest" },
        { title: "Status", value: (o) => o.status }, { title: "Placed", value: (o) => o.placed_at }, { title: "Total", number: true, value: (o) => money(o.total) }], list.orders));
    } catch (error) { say(out, error); }
  }
  main.replaceChildren(form([{ name: "q", placeholder: "Order id, or customer_id=…, status=…", value: id || "status=delivered" }], (f) => show(f.q), "Show"), out);
  show(id || "status=delivered");
}

function salesTab() {
  const out = el("div");
  async function show(period) {
    try {
      const s = await api(`/v1/analytics/sales?period=${encodeURIComponent(period)}`);
      const tile = (name, value) => el("div", { className: "tile" }, name, el("b", { textContent: value }));
      out.replaceChildren(
        el("div", { className: "tiles" }, tile("gross", money(s.gross_revenue)), tile("refunds", money(s.refunds)), tile("net", money(s.net_revenue)), tile("orders", s.orders), tile("units", s.quantity), tile("customers", s.unique_customers)),
        el("h3", { textContent: "Top products" }), table([
          { title: "SKU", value: (p) => p.sku }, { title: "Name", value: (p) => p.name }, { title: "Units", number: true, value: (p) => p.quantity }, { title: "Gross", number: true, value: (p) => money(p.gross_revenue) }], s.top_products.slice(0, 20)),
        el("h3", { textContent: "Countries" }), table([
          { title: "Country", value: (c) => c.country }, { title: "Orders", number: true, value: (c) => c.orders }, { title: "Gross", number: true, value: (c) => money(c.gross_revenue) }, { title: "Refunds", number: true, value: (c) => money(c.refunds) }], s.by_country));
    } catch (error) { say(out, error); }
  }
  main.replaceChildren(form([{ name: "q", placeholder: "all, 2010, 2010-12 or 2010-12-01", value: "all" }], (f) => show(f.q), "Show"), out);
  show("all");
}

async function projectionsTab() {
  try {
    const list = await api("/v1/projections");
    main.replaceChildren(table([
      { title: "Projection", value: (p) => p.name }, { title: "Generation", number: true, value: (p) => p.generation }, { title: "Checkpoint", number: true, value: (p) => p.checkpoint },
      { title: "Head", number: true, value: (p) => p.head }, { title: "Lag", number: true, value: (p) => p.lag }, { title: "State", value: (p) => (typeof p.state === "string" ? p.state : JSON.stringify(p.state)) }], list.projections));
  } catch (error) { say(main, error); }
}

let stream = null;
async function logTab() {
  const body = el("tbody");
  main.replaceChildren(el("p", { className: "muted", textContent: "Live tail of the log" }), el("table", {}, body));
  stream = new AbortController();
  try {
    const head = (await api("/v1/projections")).projections[0]?.head ?? 0;
    const headers = { accept: "text/event-stream", ...(key.value ? { authorization: `Bearer ${key.value}` } : {}) };
    const answer = await fetch(`/v1/events?from=${Math.max(0, Number(head) - 20)}`, { headers, signal: stream.signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const data = part.split("\n").find((l) => l.startsWith("data:"));
        if (!data) continue;
        const e = JSON.parse(data.slice(5));
        body.prepend(el("tr", {}, el("td", { className: "n", textContent: e.position }), el("td", { textContent: e.stream }), el("td", { textContent: e.type }), el("td", {}, el("code", { textContent: JSON.stringify(e.data) }))));
        while (body.children.length > 200) body.lastChild.remove();
      }
    }
  } catch (error) { if (error.name !== "AbortError") say(main, error); }
}

const tabs = { search: searchTab, stock: stockTab, orders: ordersTab, sales: salesTab, projections: projectionsTab, log: logTab };
function route() {
  stream?.abort();
  const [name, id] = (location.hash.slice(1) || "search").split("/");
  for (const link of document.querySelectorAll("#tabs a")) link.toggleAttribute("aria-current", link.hash === `#${name}`);
  (tabs[name] || searchTab)(id && decodeURIComponent(id));
}
addEventListener("hashchange", route);
route();
