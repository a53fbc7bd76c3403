// Orders: a list by customer, status or number, and one order with everything that became of it.
import { api, attributes, badge, count, el, form, link, moment, money, table, tiles, words } from "./dom.js";

const STATUSES = ["placed", "reserved", "paid", "payment_failed", "partially_shipped", "shipped", "delivered", "completed", "cancelled"];

// `#orders/ORDER`, or `#orders/=FILTER` with a query string.
export function orders(page, argument = "=") {
  const wanted = new URLSearchParams(argument.startsWith("=") ? argument.slice(1) : "");
  const go = (query) => { location.hash = `orders/${encodeURIComponent(`=${query}`)}`; };
  const box = form([
    { name: "id", label: "Order id", value: argument.startsWith("=") ? "" : argument },
    { name: "customer_id", label: "Customer id", value: wanted.get("customer_id") },
    { name: "status", label: "Status", value: wanted.get("status"), options: [["", "Any status"], ...STATUSES.map((s) => [s, words(s)])] },
  ], (f) => {
    if (f.id.trim()) { location.hash = `orders/${encodeURIComponent(f.id.trim())}`; return; }
    go(new URLSearchParams([["customer_id", f.customer_id.trim()], ["status", f.status]].filter(([, value]) => value)));
  }, "Show");
  const out = el("div");
  page.main.replaceChildren(box, out);
  page.fill(out, (signal) => (argument.startsWith("=") ? listed(wanted, go, signal) : shown(argument, signal)));
}

async function listed(wanted, go, signal) {
  const query = new URLSearchParams(wanted);
  query.set("limit", "50");
  const list = await api(`/v1/orders?${query}`, signal);
  const next = () => { const more = new URLSearchParams(wanted); more.set("cursor", list.cursor); go(more); };
  return [table([
    { title: "Order", value: (o) => link(["orders", o.order_id], o.order_id) },
    { title: "Customer", value: buyer }, { title: "Status", value: (o) => badge(o.status) },
    { title: "Placed", value: (o) => moment(o.placed_at) }, { title: "Lines", number: true, value: (o) => o.lines.length },
    { title: "Total", number: true, value: (o) => money(o.total) }, { title: "Refunded", number: true, value: (o) => (isZero(o.refunded) ? "–" : money(o.refunded)) },
  ], list.orders, "No order fits."), list.cursor ? el("button", { type: "button", textContent: "Next page", onclick: next }) : ""];
}

const isZero = (m) => !m || /^-?0(\.0*)?$/.test(m.amount);
const buyer = (order) => (order.customer_id ? link(["customer", order.customer_id], order.customer_id) : "guest");

function address(a) {
  if (!a) return "–";
  return el("span", {}, ...Object.values(a).flat().filter((part) => typeof part === "string").flatMap((part, at) => (at ? [el("br"), part] : [part])));
}

async function shown(id, signal) {
  const o = await api(`/v1/orders/${encodeURIComponent(id)}`, signal);
  const facts = [
    ["Customer", buyer(o)], ["Placed", moment(o.placed_at)], ["Payment", `${words(o.payment_method)}${o.payment ? `, ${money(o.payment.amount)} at ${moment(o.payment.paid_at)}` : ", not paid"}`],
    ["Ship to", address(o.shipping_address)], ["Bill to", address(o.billing_address)],
  ];
  return [
    el("h2", {}, `Order ${o.order_number} `, badge(o.status)),
    tiles([["total", money(o.total)], ["refunded", money(o.refunded)], ["lines", count(o.lines.length)], ["revision", count(o.revision)]]),
    el("dl", {}, ...facts.flatMap(([name, value]) => [el("dt", { textContent: name }), el("dd", {}, value)])),
    el("h3", { textContent: "Lines" }), lines(o),
    el("h3", { textContent: "What happened" }), table([
      { title: "Status", value: (h) => badge(h.status) }, { title: "Since", value: (h) => moment(h.at) }, { title: "By", value: (h) => h.actor },
    ], o.history),
    ...shipments(o), ...refunds(o),
  ];
}

const lines = (o) => table([
  { title: "SKU", value: (l) => link(["variant", l.variant_id], l.sku) }, { title: "Name", value: (l) => l.name },
  { title: "Attributes", value: (l) => attributes(l.attributes) }, { title: "Quantity", number: true, value: (l) => count(l.quantity) },
  { title: "Unit price", number: true, value: (l) => money(l.unit_price) }, { title: "Total", number: true, value: (l) => money(l.total) },
  { title: "Shipped", number: true, value: (l) => count(l.shipped) }, { title: "Returned", number: true, value: (l) => count(l.returned) },
], o.lines);

function shipments(o) {
  if (!o.shipments.length) return [];
  return [el("h3", { textContent: "Shipments" }), table([
    { title: "Shipment", value: (s) => s.shipment_id }, { title: "Carrier", value: (s) => s.carrier },
    { title: "Tracking number", value: (s) => s.tracking_number }, { title: "Shipped", value: (s) => moment(s.shipped_at) },
    { title: "Delivered", value: (s) => moment(s.delivered_at) },
  ], o.shipments)];
}

function refunds(o) {
  if (!o.refunds.length && !o.returns.length) return [];
  return [el("h3", { textContent: "Returns and refunds" }), table([
    { title: "Refund", value: (r) => r.refund_id }, { title: "At", value: (r) => moment(r.refunded_at) },
    { title: "Amount", number: true, value: (r) => money(r.amount) }, { title: "Reason", value: (r) => r.reason },
  ], o.refunds, "Nothing was refunded yet."), table([
    { title: "Return", value: (r) => r.return_id }, { title: "Status", value: (r) => badge(r.status) },
    { title: "Requested", value: (r) => moment(r.requested_at) }, { title: "Received", value: (r) => moment(r.received_at) },
  ], o.returns, "Nothing was sent back.")];
}
