// The console: a thin client of the public API. What is shown stands in the address, as #page/argument.
import { Page, failed } from "./dom.js";
import { search, variant } from "./catalogue.js";
import { orders } from "./orders.js";
import { sales, product, customer } from "./analytics.js";
import { projections, log } from "./operations.js";

const pages = { search, variant, orders, sales, product, customer, projections, log };
// Which tab a page belongs to, if it is none itself.
const tabOf = { variant: "search", product: "sales", customer: "sales" };

const main = document.getElementById("main");
const key = document.getElementById("key");
key.value = sessionStorage.getItem("daybook-key") || "";
key.addEventListener("change", () => { sessionStorage.setItem("daybook-key", key.value); route(); });

let page = new Page(main);

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

function route() {
  page.leave();
  page = new Page(main);
  const [name, ...rest] = (location.hash.slice(1) || "search").split("/");
  const known = Object.hasOwn(pages, name) ? name : "search";
  for (const tab of document.querySelectorAll("#tabs a")) {
    if (tab.hash === `#${tabOf[known] ?? known}`) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  try { pages[known](page, ...rest.map(decoded)); } catch (error) { main.replaceChildren(failed(error)); }
}

addEventListener("hashchange", route);
route();
