// Renders /openapi.json as one page; no library, nothing from elsewhere.
const el = (tag, props = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
};

function resolve(doc, schema) {
  return schema && schema.$ref ? schema.$ref.slice(2).split("/").reduce((at, key) => at?.[key], doc) : schema;
}

function schemaTable(doc, schema) {
  const of = resolve(doc, schema);
  if (!of || !of.properties || !Object.keys(of.properties).length) return el("p", { className: "muted", textContent: "No fields." });
  const rows = Object.entries(of.properties).map(([name, field]) => {
    const target = resolve(doc, field) || {};
    const type = [].concat(target.type || field.$ref?.split("/").pop() || "object").filter((t) => t !== "null").join(" | ");
    return el("tr", {},
      el("td", {}, el("code", { textContent: name + (of.required?.includes(name) ? "" : "?") })),
      el("td", { textContent: type }),
      el("td", { textContent: field.description || target.description || "" }));
  });
  return el("table", {}, el("tbody", {}, ...rows));
}

function operation(doc, method, path, op) {
  const body = op.requestBody?.content?.["application/json"]?.schema;
  const box = el("details", {}, el("summary", {},
    el("b", { textContent: method.toUpperCase() + " " }), el("code", { textContent: path }), " ",
    el("span", { className: "muted", textContent: op.summary || "" })));
  box.append(el("p", { textContent: op.description || "" }));
  if (op.parameters?.length) {
    box.append(el("h4", { textContent: "Parameters" }), el("table", {}, el("tbody", {}, ...op.parameters.map((p) => {
      const of = resolve(doc, p);
      return el("tr", {}, el("td", {}, el("code", { textContent: of.name })), el("td", { textContent: of.in }), el("td", { textContent: of.description || "" }));
    }))));
  }
  if (body) box.append(el("h4", { textContent: "Body" }), schemaTable(doc, body));
  box.append(el("h4", { textContent: "Answers" }), el("table", {}, el("tbody", {}, ...Object.entries(op.responses || {}).map(([status, answer]) =>
    el("tr", {}, el("td", { textContent: status }), el("td", { textContent: resolve(doc, answer)?.description || "" }))))));
  box.dataset.text = `${path} ${op.summary || ""} ${op.description || ""}`.toLowerCase();
  return box;
}

async function load() {
  const main = document.getElementById("main");
  const doc = await (await fetch("/openapi.json")).json();
  main.replaceChildren(el("p", { textContent: doc.info.description || "" }));
  const groups = new Map();
  for (const [path, methods] of Object.entries(doc.paths)) {
    for (const [method, op] of Object.entries(methods)) {
      const tag = op.tags?.[0] || "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(doc, method, path, op));
    }
  }
  for (const [tag, boxes] of groups) main.append(el("section", {}, el("h2", { textContent: tag }), ...boxes));
  document.getElementById("filter").addEventListener("input", (event) => {
    const word = event.target.value.toLowerCase();
    for (const box of main.querySelectorAll("details")) box.hidden = !box.dataset.text.includes(word);
  });
}

load().catch((error) => { document.getElementById("main").textContent = `The API description could not be loaded: ${error}`; });
