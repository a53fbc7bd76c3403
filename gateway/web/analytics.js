// Sales of a period, what a variant earned, what a customer is worth.
import { api, bars, count, el, form, link, moment, money, table, tiles, words } from "./dom.js";

// Only for drawing: the figures shown are the server's own digits.
const drawn = (m) => Number(m.amount);
const days = (daily) => bars(daily.map((d) => ({ name: d.date, label: `${d.date}: ${money(d.gross_revenue)}, ${count(d.orders)} orders`, value: drawn(d.gross_revenue) })));
const period = (page, base, now) => form([{ name: "period", label: "all, 2010, 2010-12 or 2010-12-01", value: now }],
  (f) => { location.hash = [...base, f.period.trim() || "all"].map(encodeURIComponent).join("/"); }, "Show");

export function sales(page, of = "all") {
  const out = el("div");
  page.main.replaceChildren(period(page, ["sales"], of), out);
  page.fill(out, async (signal) => {
    const s = await api(`/v1/analytics/sales?period=${encodeURIComponent(of)}`, signal);
    const share = (name, key) => [el("h3", { textContent: `By ${name}` }), table([
      { title: name, value: (r) => words(r[key]) }, { title: "Orders", number: true, value: (r) => count(r.orders) },
      { title: "Units", number: true, value: (r) => count(r.quantity) }, { title: "Gross", number: true, value: (r) => money(r.gross_revenue) },
      { title: "Refunds", number: true, value: (r) => money(r.refunds) },
    ], s[`by_${key}`])];
    return [
      figures(s), days(s.daily),
      el("h3", { textContent: "Top products" }), table([
        { title: "SKU", value: (p) => link(["product", p.variant_id, of], p.sku) }, { title: "Name", value: (p) => p.name },
        { title: "Orders", number: true, value: (p) => count(p.orders) }, { title: "Units", number: true, value: (p) => count(p.quantity) },
        { title: "Gross", number: true, value: (p) => money(p.gross_revenue) },
      ], s.top_products.slice(0, 20), "Nothing was sold."),
      ...share("country", "country"), ...share("category", "category"), ...share("payment method", "payment_method"),
    ];
  });
}

const figures = (s) => tiles([
  ["gross revenue", money(s.gross_revenue)], ["refunds", money(s.refunds)], ["net revenue", money(s.net_revenue)], ["orders", count(s.orders)],
  ["units", count(s.quantity)], ["customers", count(s.unique_customers)], ["average order", money(s.average_order_value)],
]);

export function product(page, id = "", of = "all") {
  const out = el("div");
  page.main.replaceChildren(period(page, ["product", id], of), out);
  page.fill(out, async (signal) => {
    const p = await api(`/v1/analytics/products/${encodeURIComponent(id)}?period=${encodeURIComponent(of)}`, signal);
    return [
      el("h2", {}, `${p.name} `, link(["variant", id], p.sku)), figures(p), days(p.daily),
      el("h3", { textContent: "Top customers" }), table([
        { title: "Customer", value: (c) => link(["customer", c.customer_id], c.customer_id) }, { title: "Orders", number: true, value: (c) => count(c.orders) },
        { title: "Units", number: true, value: (c) => count(c.quantity) }, { title: "Gross", number: true, value: (c) => money(c.gross_revenue) },
      ], p.top_customers, "Only guests bought it."),
    ];
  });
}

export function customer(page, id = "") {
  const out = el("div");
  page.main.replaceChildren(out);
  page.fill(out, async (signal) => {
    const c = await api(`/v1/analytics/customers/${encodeURIComponent(id)}`, signal);
    const rfm = c.rfm ? `${c.rfm.recency} · ${c.rfm.frequency} · ${c.rfm.monetary}` : "–";
    const facts = [
      ["First order", moment(c.first_order_at)], ["Last order", moment(c.last_order_at)], ["Favourite categories", c.favourite_categories.join(", ") || "–"],
      ["Pays by", words(c.preferred_payment_method)], ["Units an order", c.items_per_order], ["Return rate", `${(c.return_rate * 100).toFixed(1)} %`],
    ];
    return [
      el("h2", { textContent: `Customer ${id}` }),
      tiles([["segment", words(c.segment)], ["recency · frequency · spend", rfm], ["orders", count(c.orders)], ["gross spend", money(c.gross_spend)],
        ["refunds", money(c.refunds)], ["net spend", money(c.net_spend)], ["average order", money(c.average_order_value)]]),
      el("dl", {}, ...facts.flatMap(([name, value]) => [el("dt", { textContent: name }), el("dd", { textContent: value })])),
      el("p", {}, link(["orders", `=customer_id=${encodeURIComponent(id)}`], "Orders of this customer")),
    ];
  });
}
