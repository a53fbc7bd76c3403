//! Orders and credits for the tests of the analytics and of the order view.

use daybook_schemas::order::Event;
use daybook_schemas::{Currency, Money, credit};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::World;

pub(crate) fn gbp(amount: &str) -> Money {
    Money::parse(amount, Currency::GBP).unwrap()
}

/// A line as (variant, category, quantity, price in pence).
pub(crate) type LineOf<'a> = (&'a str, &'a str, u32, u32);

pub(crate) fn pounds(pence: u32) -> String {
    format!("{}.{:02}", pence / 100, pence % 100)
}

pub(crate) fn money(pence: u32) -> Value {
    json!({"amount": pounds(pence), "currency": "GBP"})
}

/// `order.placed` with lines numbered from 1.
pub(crate) fn placed(
    id: &str,
    customer: Option<&str>,
    country: Option<&str>,
    method: &str,
    at: &str,
    lines: &[LineOf<'_>],
) -> Event {
    let total: u32 = lines.iter().map(|(_, _, quantity, pence)| quantity * pence).sum();
    let lines: Vec<Value> = lines
        .iter()
        .zip(1..)
        .map(|((variant, category, quantity, pence), line_id)| {
            json!({
                "line_id": line_id, "variant_id": variant, "sku": format!("SKU-{variant}"), "name": format!("Thing {variant} of {id}"),
                "category": category, "attributes": [], "quantity": quantity, "unit_price": money(*pence),
                "total": money(quantity * pence), "stocked": true,
            })
        })
        .collect();
    let mut data = json!({
        "order_id": id, "order_number": format!("N-{id}"), "lines": lines, "total": money(total), "payment_method": method,
        "placed_at": at,
    });
    if let Some(customer) = customer {
        data["customer_id"] = customer.into();
    }
    if let Some(country) = country {
        data["shipping_address"] = json!({"country": country});
    }
    event("order.placed", data)
}

pub(crate) fn event(wire_name: &str, data: Value) -> Event {
    Event::from_data(wire_name, &serde_json::to_vec(&data).unwrap()).unwrap().unwrap()
}

pub(crate) fn paid(pence: u32, at: &str) -> Event {
    event("order.paid", json!({"amount": money(pence), "paid_at": at}))
}

pub(crate) fn payment_failed(at: &str) -> Event {
    event("order.payment_failed", json!({"failed_at": at}))
}

pub(crate) fn cancelled(at: &str) -> Event {
    event("order.cancelled", json!({"cancelled_at": at}))
}

/// A refund of lines as (line, quantity, pence).
pub(crate) fn refunded(id: &str, at: &str, lines: &[(u32, u32, u32)]) -> Event {
    let total: u32 = lines.iter().map(|(_, _, pence)| pence).sum();
    let lines: Vec<Value> = lines
        .iter()
        .map(
            |(line, quantity, pence)| json!({"line_id": line, "quantity": quantity, "amount": money(*pence)}),
        )
        .collect();
    event(
        "order.refunded",
        json!({"refund_id": id, "lines": lines, "amount": money(total), "refunded_at": at}),
    )
}

pub(crate) fn credited(
    id: &str,
    customer: Option<&str>,
    variant: &str,
    pence: u32,
    at: &str,
) -> credit::Event {
    let mut data = json!({
        "credit_id": id, "variant_id": variant, "sku": format!("SKU-{variant}"), "name": format!("Thing {variant} of {id}"),
        "category": "Credits", "quantity": 2, "amount": money(pence), "country": "France", "issued_at": at,
    });
    if let Some(customer) = customer {
        data["customer_id"] = customer.into();
    }
    credit::Event::from_data("credit.issued", &serde_json::to_vec(&data).unwrap()).unwrap().unwrap()
}

/// One thing that happens in a random shop.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Place { customer: u8, country: u8, day: u16, lines: Vec<(u8, u8, u8)> },
    Pay(u8),
    Fail(u8),
    Cancel(u8),
    Refund { order: u8, line: u8, pence: u8, day: u16 },
    Credit { customer: u8, variant: u8, pence: u8, day: u16 },
}

pub(crate) fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let day = || 0..800_u16;
    let line = (0..6_u8, 1..5_u8, 0..20_u8);
    let place = (0..6_u8, 0..4_u8, day(), proptest::collection::vec(line, 1..5));
    let happening = prop_oneof![
        5 => place.prop_map(|(customer, country, day, lines)| Happening::Place { customer, country, day, lines }),
        3 => any::<u8>().prop_map(Happening::Pay),
        1 => any::<u8>().prop_map(Happening::Fail),
        1 => any::<u8>().prop_map(Happening::Cancel),
        2 => (any::<u8>(), any::<u8>(), 0..50_u8, day())
            .prop_map(|(order, line, pence, day)| Happening::Refund { order, line, pence, day }),
        1 => (0..6_u8, 0..6_u8, 1..50_u8, day())
            .prop_map(|(customer, variant, pence, day)| Happening::Credit { customer, variant, pence, day }),
    ];
    proptest::collection::vec(happening, 1..60)
}

/// An order of the random shop, as the tests' own books have it.
#[derive(Debug, Clone)]
pub(crate) struct Booked {
    pub(crate) customer: Option<String>,
    pub(crate) country: &'static str,
    pub(crate) day: String,
    /// Variant, category, quantity, pence each.
    pub(crate) lines: Vec<(String, &'static str, u32, u32)>,
    pub(crate) counted: bool,
    paid: bool,
    closed: bool,
}

/// Money given back, as the tests' own books have it.
#[derive(Debug, Clone)]
pub(crate) struct GivenBack {
    pub(crate) customer: Option<String>,
    pub(crate) country: &'static str,
    pub(crate) day: String,
    pub(crate) variant: String,
    pub(crate) category: &'static str,
    pub(crate) pence: u32,
    pub(crate) units: u32,
}

/// The tests' own books: lists, and nothing aggregated.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) orders: Vec<Booked>,
    pub(crate) given_back: Vec<GivenBack>,
}

const CATEGORIES: [&str; 3] = ["Toys", "Möbel/Holz", "Tea & Coffee"];
const COUNTRIES: [&str; 4] = ["unknown", "United Kingdom", "France", "Åland"];

fn category_of(variant: u8) -> &'static str {
    CATEGORIES[usize::from(variant) % CATEGORIES.len()]
}

fn time_of(day: u16) -> String {
    daybook_schemas::Timestamp::from_secs(1_290_000_000 + i64::from(day) * 40_000).to_string()
}

fn customer_of(number: u8) -> Option<String> {
    (number > 0).then(|| format!("c{number}"))
}

/// Writes what happens to the log, and keeps the books. What makes no sense (paying a cancelled order) does not happen.
pub(crate) fn live(world: &World, happenings: &[Happening]) -> Books {
    let mut books = Books::default();
    for (number, happening) in happenings.iter().enumerate() {
        let at = |order: &u8, books: &Books| {
            (!books.orders.is_empty()).then(|| usize::from(*order) % books.orders.len())
        };
        match happening {
            Happening::Place { customer, country, day, lines } => {
                place(world, &mut books, *customer, *country, *day, lines)
            }
            Happening::Pay(order) => {
                let Some(at) =
                    at(order, &books).filter(|at| !books.orders[*at].paid && !books.orders[*at].closed)
                else {
                    continue;
                };
                world.append(&format!("order-o{at}"), paid(1, "2011-01-01T00:00:00Z"));
                (books.orders[at].paid, books.orders[at].counted) = (true, true);
            }
            Happening::Fail(order) => {
                let Some(at) =
                    at(order, &books).filter(|at| !books.orders[*at].paid && !books.orders[*at].closed)
                else {
                    continue;
                };
                world.append(&format!("order-o{at}"), payment_failed("2011-01-01T00:00:00Z"));
                books.orders[at].counted = false;
            }
            Happening::Cancel(order) => {
                let Some(at) = at(order, &books).filter(|at| !books.orders[*at].closed) else { continue };
                world.append(&format!("order-o{at}"), cancelled("2011-01-01T00:00:00Z"));
                let order = &mut books.orders[at];
                order.closed = true;
                order.counted &= order.paid;
            }
            Happening::Refund { order, line, pence, day } => {
                let Some(at) = at(order, &books).filter(|at| books.orders[*at].paid) else { continue };
                let order = books.orders[at].clone();
                let line = usize::from(*line) % order.lines.len();
                let (variant, category, ..) = order.lines[line].clone();
                let time = time_of(*day);
                let line_id = u32::try_from(line).unwrap() + 1;
                let refund = refunded(&format!("f{number}"), &time, &[(line_id, 1, u32::from(*pence))]);
                world.append(&format!("order-o{at}"), refund);
                books.given_back.push(GivenBack {
                    customer: order.customer,
                    country: order.country,
                    day: time[..10].to_owned(),
                    variant,
                    category,
                    pence: u32::from(*pence),
                    units: 1,
                });
            }
            Happening::Credit { customer, variant, pence, day } => {
                let (time, customer) = (time_of(*day), customer_of(*customer));
                let variant = format!("v{variant}");
                let credit =
                    credited(&format!("k{number}"), customer.as_deref(), &variant, u32::from(*pence), &time);
                world.append(&format!("credit-k{number}"), credit);
                books.given_back.push(GivenBack {
                    customer,
                    country: "France",
                    day: time[..10].to_owned(),
                    variant,
                    category: "Credits",
                    pence: u32::from(*pence),
                    units: 2,
                });
            }
        }
    }
    books
}

fn place(world: &World, books: &mut Books, customer: u8, country: u8, day: u16, lines: &[(u8, u8, u8)]) {
    let at = books.orders.len();
    let lines: Vec<(String, &'static str, u32, u32)> = lines
        .iter()
        .map(|(variant, quantity, pence)| {
            (format!("v{variant}"), category_of(*variant), u32::from(*quantity), u32::from(*pence) * 5)
        })
        .collect();
    let borrowed: Vec<LineOf<'_>> = lines
        .iter()
        .map(|(variant, category, quantity, pence)| (variant.as_str(), *category, *quantity, *pence))
        .collect();
    let (customer, country, time) = (customer_of(customer), COUNTRIES[usize::from(country)], time_of(day));
    let named = (country != "unknown").then_some(country);
    world.append(
        &format!("order-o{at}"),
        placed(&format!("o{at}"), customer.as_deref(), named, "card", &time, &borrowed),
    );
    books.orders.push(Booked {
        customer,
        country,
        day: time[..10].to_owned(),
        lines,
        counted: true,
        paid: false,
        closed: false,
    });
}
