// Renders /openapi.json as one page; no library, nothing from elsewhere.
import { el, failed } from "./dom.js";

const resolve = (doc, schema) => (schema?.$ref ? schema.$ref.slice(2).split("/").reduce((at, key) => at?.[key], doc) : schema);
const last = (reference) => reference.split("/").pop();

// `string`, `Money`, `VariantView[]`, `Price | null` …
function typeOf(schema) {
  if (!schema || typeof schema !== "object") return "anything";
  if (schema.$ref) return last(schema.$ref);
  const among = schema.anyOf ?? schema.oneOf;
  if (among) return [...new Set(among.map(typeOf))].filter((name) => name !== "null").join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const names = [schema.type ?? "object"].flat().filter((name) => name !== "null");
  return names.map((name) => (name === "array" ? `${typeOf(schema.items)}[]` : name)).join(" | ");
}

function fields(doc, schema) {
  const of = resolve(doc, schema);
  const names = Object.entries(of?.properties ?? {});
  if (!names.length) return el("p", { className: "muted", textContent: of?.description || (schema?.$ref ? typeOf(of) : "No fields.") });
  const row = ([name, field]) => el("tr", {},
    el("td", {}, el("code", { textContent: name + (of.required?.includes(name) ? "" : "?") })),
    el("td", {}, typed(doc, field)),
    el("td", { textContent: field.description || resolve(doc, field)?.description || "" }));
  return el("div", { className: "wide" }, el("table", {}, el("tbody", {}, ...names.map(row))));
}

// The name of a type; one that has fields of its own opens to show them.
function typed(doc, field) {
  const inner = [field, field.items, ...(field.anyOf ?? [])].find((schema) => schema?.$ref && resolve(doc, schema)?.properties);
  if (!inner) return typeOf(field.$ref && !resolve(doc, field)?.properties ? resolve(doc, field) : field);
  const box = el("details", { className: "inline" }, el("summary", { textContent: typeOf(field) }));
  box.addEventListener("toggle", () => { if (box.open && box.children.length === 1) box.append(fields(doc, inner)); });
  return box;
}

const lines = (rows) => el("div", { className: "wide" }, el("table", {}, el("tbody", {}, ...rows)));

function operation(doc, method, path, op) {
  const box = el("details", {}, el("summary", {},
    el("b", { className: `method ${method}`, textContent: method.toUpperCase() }), " ", el("code", { textContent: path }), " ",
    el("span", { className: "muted", textContent: op.summary || "" })));
  const text = `${path} ${op.summary || ""} ${op.description || ""}`.toLowerCase();
  // Hundreds of tables nobody opens would only cost time.
  box.addEventListener("toggle", () => { if (box.open && box.children.length === 1) box.append(...details(doc, op)); });
  return { box, text };
}

function details(doc, op) {
  const parts = op.description ? [el("p", { textContent: op.description })] : [];
  if (op.parameters?.length) {
    const row = (of) => el("tr", {}, el("td", {}, el("code", { textContent: of.name })), el("td", { textContent: of.in }), el("td", { textContent: of.description || "" }));
    parts.push(el("h4", { textContent: "Parameters" }), lines(op.parameters.map((p) => row(resolve(doc, p)))));
  }
  const body = op.requestBody?.content?.["application/json"]?.schema;
  if (body) parts.push(el("h4", { textContent: "Body" }), fields(doc, body));
  const answer = op.responses?.["200"]?.content?.["application/json"]?.schema;
  if (answer) parts.push(el("h4", { textContent: "Answer" }), fields(doc, answer));
  const statuses = Object.entries(op.responses ?? {});
  parts.push(el("h4", { textContent: "Status" }), lines(statuses.map(([status, of]) =>
    el("tr", {}, el("td", { textContent: status }), el("td", { textContent: resolve(doc, of)?.description || "" })))));
  return parts;
}

async function load() {
  const main = document.getElementById("main");
  const doc = await (await fetch("/openapi.json")).json();
  const groups = new Map();
  for (const [path, methods] of Object.entries(doc.paths)) {
    for (const [method, op] of Object.entries(methods)) {
      const tag = op.tags?.[0] || "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(doc, method, path, op));
    }
  }
  const sections = [...groups].map(([tag, all]) => ({ all, node: el("section", {}, el("h2", { textContent: tag }), ...all.map((one) => one.box)) }));
  const none = el("p", { className: "muted", textContent: "Nothing fits the filter.", hidden: true });
  main.replaceChildren(el("p", { textContent: doc.info.description || "" }), none, ...sections.map((s) => s.node));
  const filter = document.getElementById("filter");
  const apply = () => {
    const word = filter.value.trim().toLowerCase();
    for (const { all, node } of sections) {
      for (const { box, text } of all) box.hidden = !text.includes(word);
      node.hidden = all.every(({ box }) => box.hidden);
    }
    none.hidden = sections.some(({ node }) => !node.hidden);
  };
  filter.addEventListener("input", apply);
  apply();
}

load().catch((error) => document.getElementById("main").replaceChildren(failed(error)));
