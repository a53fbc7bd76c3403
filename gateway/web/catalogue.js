// Search with facets, and a variant with its stock and history.
import { api, attributes, badge, count, el, form, link, moment, price, table, tiles, unless, words } from "./dom.js";

const SHOWN_VALUES = 10;
const SORTS = [["", "Best fit"], ["popularity", "Popularity"], ["price_asc", "Price, lowest first"], ["price_desc", "Price, highest first"], ["newest", "Newest"], ["discount", "Discount"]];
const STATES = ["draft", "pending_approval", "active", "mature", "clearance", "discontinued"];

// The whole request stands in the address, so that a search can be sent to a colleague.
export function search(page, asked = "") {
  const wanted = new URLSearchParams(asked);
  const go = (change) => {
    const next = new URLSearchParams(wanted);
    next.delete("cursor");
    change(next);
    for (const [name, value] of [...next]) if (!value) next.delete(name);
    location.hash = `search/${encodeURIComponent(next)}`;
  };
  const box = form([
    { name: "q", label: "Search the catalogue", value: wanted.get("q") },
    { name: "sort", label: "Sort", value: wanted.get("sort"), options: SORTS },
    { name: "lifecycle", label: "Lifecycle", value: wanted.get("lifecycle"), options: [["", "What can be bought"], ...STATES.map((s) => [s, words(s)])] },
  ], (f) => go((next) => Object.entries(f).forEach(([name, value]) => next.set(name, value))), "Search");
  const out = el("div", { className: "split" }, el("p", { className: "muted", textContent: "Searching…" }));
  page.main.replaceChildren(box, out);
  page.fill(out, async (signal) => {
    const query = new URLSearchParams(wanted);
    query.set("facets", "all");
    query.set("limit", "25");
    const found = await api(`/v1/search?${query}`, signal);
    const groups = Object.entries(found.facets ?? {}).filter(([name]) => name !== "lifecycle");
    return [el("aside", {}, ...groups.map(([name, values]) => facet(name, values, wanted, go))), hits(found, wanted, go)];
  });
}

function hits(found, wanted, go) {
  const rows = table([
    { title: "SKU", value: (h) => link(["variant", h.variant_id], h.sku) },
    { title: "Name", value: (h) => h.name },
    { title: "Brand", value: (h) => h.brand },
    { title: "Category", value: (h) => h.category },
    { title: "Attributes", value: (h) => attributes(h.attributes) },
    { title: "Price", number: true, value: (h) => price(h.price) },
    { title: "Stock", value: (h) => badge(h.in_stock ? "in stock" : "out of stock") },
  ], found.hits, "Nothing fits. Try fewer words, or take back a filter.");
  const filters = [...wanted].filter(([name]) => !["q", "sort", "lifecycle", "cursor"].includes(name));
  const clear = filters.length
    ? el("button", { className: "quiet", type: "button", textContent: "Clear filters", onclick: () => go((next) => filters.forEach(([name]) => next.delete(name))) })
    : null;
  const more = found.cursor
    ? el("button", { type: "button", textContent: "Next page", onclick: () => go((next) => next.set("cursor", found.cursor)) })
    : null;
  return el("section", {}, el("p", { className: "muted" }, `${count(found.total)} found `, clear), rows, more);
}

function facet(name, values, wanted, go) {
  const title = words(name.replace(/^attr\./, ""));
  const box = el("fieldset", { className: "facet" }, el("legend", { textContent: title }));
  const shown = values.filter((v) => v.count > 0 || isChosen(name, v, wanted));
  if (!shown.length) return "";
  shown.forEach((value, at) => {
    const tick = el("input", { type: "checkbox", checked: isChosen(name, value, wanted) });
    tick.addEventListener("change", () => go((next) => choose(name, value, tick.checked, next)));
    const label = el("label", {}, tick, el("b", { textContent: labelOf(name, value) }), el("span", { textContent: count(value.count) }));
    label.hidden = at >= SHOWN_VALUES && !tick.checked;
    box.append(label);
  });
  const hidden = [...box.querySelectorAll("label")].filter((label) => label.hidden);
  if (hidden.length) {
    const all = el("button", { type: "button", className: "quiet", textContent: `${hidden.length} more` });
    all.addEventListener("click", () => { hidden.forEach((label) => { label.hidden = false; }); all.remove(); });
    box.append(all);
  }
  return box;
}

function labelOf(name, value) {
  if (name === "price") return value.to ? `${value.from ?? 0} to under ${value.to}` : `from ${value.from}`;
  if (name === "in_stock") return value.value === "true" ? "in stock" : "out of stock";
  return value.value === "*" ? "everywhere" : value.value;
}

// The upper end of a bucket is exclusive, that of the filter inclusive: the smallest amount below it.
const below = (end) => String((BigInt(end) - 1n)) + ".999999";

function isChosen(name, value, wanted) {
  if (name !== "price") return wanted.getAll(name).includes(value.value);
  return wanted.get("price_min") === (value.from ?? "0") && (wanted.get("price_max") ?? "") === (value.to ? below(value.to) : "");
}

function choose(name, value, on, next) {
  if (name === "price") {
    next.delete("price_min"); next.delete("price_max");
    if (!on) return;
    next.set("price_min", value.from ?? "0");
    if (value.to) next.set("price_max", below(value.to));
    return;
  }
  // These take one value only.
  const others = ["in_stock", "channel", "region"].includes(name) ? [] : next.getAll(name).filter((v) => v !== value.value);
  next.delete(name);
  for (const other of others) next.append(name, other);
  if (on) next.append(name, value.value);
}

export function variant(page, id = "") {
  const out = el("div");
  const box = form([{ name: "id", label: "Variant id", value: id }], (f) => { location.hash = `variant/${encodeURIComponent(f.id.trim())}`; }, "Show");
  page.main.replaceChildren(box, out);
  if (!id) return;
  const of = encodeURIComponent(id);
  page.fill(out, async (signal) => {
    const [view, stock, stream] = await Promise.all([
      api(`/v1/variants/${of}`, signal).catch(unless(404, null)),
      api(`/v1/inventory/${of}`, signal).catch(unless(404, null)),
      api(`/v1/streams/inventory-${of}?from=1&limit=100`, signal).catch(unless(404, { events: [] })),
    ]);
    if (!view && !stock) return el("p", { className: "muted", textContent: `There is no variant ${id}, and no stock of one.` });
    return [...(view ? described(view) : [el("h2", { textContent: id })]), ...(stock ? stocked(stock) : [el("p", { className: "muted", textContent: "It never had stock." })]), ...moved(stream.events)];
  });
}

function described(view) {
  const places = (list) => (list?.length ? list.join(", ") : "everywhere");
  const facts = [
    ["SKU", view.sku], ["Brand", view.brand], ["Category", view.category], ["Product group", view.product_group],
    ["Attributes", attributes(view.attributes)], ["Channels", places(view.channels)], ["Regions", places(view.regions)],
    ["Configuration", el("code", { textContent: view.config_signature || view.config_hash.slice(0, 16) })],
    ["Created", moment(view.created_at)], ["Changed", `${moment(view.updated_at)}, revision ${view.revision}`],
  ];
  const history = table([
    { title: "From", value: (p) => moment(p.effective_from) }, { title: "Price", number: true, value: (p) => price(p.price) },
    { title: "Reason", value: (p) => p.reason },
  ], [...(view.price_history ?? [])].reverse(), "It has no price yet.");
  return [
    el("h2", {}, `${view.name} `, badge(view.lifecycle)),
    el("p", {}, el("b", {}, price(view.price)), " · ", link(["product", view.variant_id], "what it earned")),
    view.description ? el("p", { textContent: view.description }) : "",
    el("dl", {}, ...facts.flatMap(([name, value]) => [el("dt", { textContent: name }), el("dd", {}, value)])),
    el("h3", { textContent: "Prices" }), history,
  ];
}

function stocked(stock) {
  const numbers = ["on_hand", "reserved", "available", "damaged", "incoming", "backordered"];
  const locations = table([
    { title: "Location", value: (l) => l.location },
    ...numbers.map((name) => ({ title: words(name), number: true, value: (l) => count(l[name]) })),
    { title: "safety stock", number: true, value: (l) => count(l.safety_stock) },
  ], stock.locations);
  return [
    el("h3", {}, "Stock ", stock.low_stock ? badge("low stock") : ""),
    tiles(numbers.map((name) => [words(name), count(stock[name])])), locations,
    el("p", { className: "muted", textContent: `Last movement ${moment(stock.last_movement)}, revision ${stock.revision}.` }),
  ];
}

function moved(events) {
  return [el("h3", { textContent: "First movements" }), table([
    { title: "Revision", number: true, value: (e) => e.revision }, { title: "Event", value: (e) => e.type },
    { title: "Recorded", value: (e) => moment(e.recorded_at) },
    { title: "Data", value: (e) => el("code", { textContent: JSON.stringify(e.data) }) },
  ], events, "Its stock never moved.")];
}
