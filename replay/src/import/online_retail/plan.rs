//! What each row means, and the commands it becomes. Pure: the same file gives the same commands.

use daybook_schemas::{Currency, Money, Timestamp, VariantId};
use hashbrown::HashMap;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::source::{Row, Source};

/// The class of a row; see the table at the top of the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    OrderLine,
    Credit,
    BadDebtAdjustment,
    StockAdjustment,
}

impl Class {
    pub(super) const ALL: [Self; 4] =
        [Self::OrderLine, Self::Credit, Self::BadDebtAdjustment, Self::StockAdjustment];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::OrderLine => "order_line",
            Self::Credit => "credit",
            Self::BadDebtAdjustment => "bad_debt_adjustment",
            Self::StockAdjustment => "stock_adjustment",
        }
    }
}

/// Stock codes that are no goods, and why; they stand in orders but take nothing from stock.
pub(super) const NOT_GOODS: &[(&str, &str)] = &[
    ("POST", "postage"),
    ("DOT", "postage of the web shop"),
    ("C2", "carriage"),
    ("M", "manual entry"),
    ("D", "discount"),
    ("S", "samples fee"),
    ("B", "bad debt"),
    ("BANK-CHARGES", "bank charges"),
    ("AMAZONFEE", "marketplace fee"),
    ("CRUK", "charity commission"),
    ("GIFT_0001_10", "gift voucher, issued and not stocked"),
    ("GIFT_0001_20", "gift voucher, issued and not stocked"),
    ("GIFT_0001_30", "gift voucher, issued and not stocked"),
    ("GIFT_0001_40", "gift voucher, issued and not stocked"),
    ("GIFT_0001_50", "gift voucher, issued and not stocked"),
];

pub(super) fn is_goods(variant: &VariantId) -> bool {
    !NOT_GOODS.iter().any(|(code, _)| *code == variant.as_str())
}

/// A command to send, with the key that makes it happen once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Planned {
    pub(super) aggregate: &'static str,
    pub(super) id: String,
    pub(super) command: &'static str,
    pub(super) body: Value,
    pub(super) key: String,
    /// Variants (by index) whose stock it changes. Commands on different streams that share one must not overtake each other.
    pub(super) stock_of: Vec<u32>,
}

/// One line of an earlier order that may cover a cancellation.
#[derive(Debug, Clone)]
struct Cover {
    invoice: u32,
    line: u32,
    left: i64,
    price: Decimal,
}

/// Counts that go into the report beside the classes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) orders: u64,
    pub(super) guest_orders: u64,
    pub(super) refunds: u64,
    pub(super) credits_without_order: u64,
    pub(super) opening_units: u64,
}

/// Turns the file into commands, in the order of the file.
pub(super) struct Plan<'a> {
    source: &'a Source,
    /// Rows of each invoice's order, by invoice; taken when the order is planned.
    orders: HashMap<u32, Vec<Row>>,
    covers: HashMap<(u32, u32), Vec<Cover>>,
    pub(super) tally: Tally,
}

impl<'a> Plan<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        let mut orders: HashMap<u32, Vec<Row>> = HashMap::new();
        for row in &source.rows {
            if classify(source, row) == Class::OrderLine {
                orders.entry(row.invoice).or_default().push(*row);
            }
        }
        Self { source, orders, covers: HashMap::new(), tally: Tally::default() }
    }

    /// Variants and their opening stock: what must be there before the first row.
    pub(super) fn prologue(&mut self) -> Vec<Planned> {
        let source = self.source;
        let opening = opening_stock(source);
        let mut firsts: Vec<Option<First>> = vec![None; source.variants.len()];
        for row in &source.rows {
            firsts[row.variant as usize].get_or_insert_with(|| First::of(row)).take(source, row);
        }
        let mut commands = Vec::with_capacity(source.variants.len() * 4);
        for (index, variant) in source.variants.iter().enumerate() {
            let Some(first) = &firsts[index] else { continue };
            commands.extend(self.variant_commands(variant, first));
            if opening[index] > 0 {
                self.tally.opening_units += opening[index].unsigned_abs();
                commands.push(Planned {
                    aggregate: "inventory",
                    id: variant.to_string(),
                    command: "receive",
                    body: json!({"quantity": opening[index], "reference": "opening stock"}),
                    key: format!("online-retail:opening:{variant}"),
                    stock_of: Vec::new(),
                });
            }
        }
        commands
    }

    fn variant_commands(&self, variant: &VariantId, first: &First) -> Vec<Planned> {
        let name = first
            .description
            .map_or_else(|| variant.to_string(), |i| self.source.descriptions[i as usize].to_string());
        let mut create = json!({
            "product_id": variant, "name": name, "brand": "Online Retail",
            "category": if is_goods(variant) { "Giftware" } else { "Services" },
            "attributes": [], "sku": {"strategy": "manual", "value": variant}, "created_at": first.time,
        });
        if let Some(price) = first.price {
            create["price"] = json!(gbp(price));
        }
        let planned = |command: &'static str, body: Value| Planned {
            aggregate: "variant",
            id: variant.to_string(),
            command,
            body,
            key: format!("online-retail:variant:{variant}:{command}"),
            stock_of: Vec::new(),
        };
        let mut commands = vec![planned("create", create)];
        if first.price.is_some() {
            commands.push(planned("submit", json!({})));
            commands.push(planned("approve", json!({"reason": "sold in the imported history"})));
        }
        commands
    }

    /// The commands of one row; an order's come with its first line, and its further lines give none.
    pub(super) fn commands(&mut self, row: &Row) -> Vec<Planned> {
        match classify(self.source, row) {
            Class::OrderLine => self
                .orders
                .remove(&row.invoice)
                .map(|lines| self.order(row.invoice, &lines))
                .into_iter()
                .collect(),
            Class::Credit => self.cancellation(row),
            Class::BadDebtAdjustment => vec![self.bad_debt(row)],
            Class::StockAdjustment => vec![self.adjustment(row)],
        }
    }

    fn order(&mut self, invoice: u32, rows: &[Row]) -> Planned {
        let source = self.source;
        let first = &rows[0];
        self.tally.orders += 1;
        self.tally.guest_orders += u64::from(first.customer.is_none());
        let mut lines = Vec::with_capacity(rows.len());
        for (line, row) in (1_u32..).zip(rows) {
            let variant = &source.variants[row.variant as usize];
            let mut body = json!({"variant_id": variant, "quantity": row.quantity, "unit_price": gbp(row.price), "stocked": is_goods(variant)});
            if let Some(description) = row.description {
                body["name"] = json!(source.descriptions[description as usize]);
            }
            lines.push(body);
            if let Some(customer) = row.customer {
                let cover = Cover { invoice, line, left: row.quantity, price: row.price };
                self.covers.entry((customer, row.variant)).or_default().push(cover);
            }
        }
        let country = &source.countries[first.country as usize];
        let mut body = json!({
            "lines": lines, "payment_method": "invoice", "placed_at": first.time,
            "shipping_address": {"country": country},
        });
        if let Some(customer) = first.customer {
            body["customer_id"] = json!(source.customers[customer as usize]);
        }
        Planned {
            aggregate: "order",
            id: source.invoices[invoice as usize].clone(),
            command: "record",
            body,
            key: format!("online-retail:row:{}", first.number),
            stock_of: rows.iter().map(|row| row.variant).collect(),
        }
    }

    /// A return and refund for each order line that covers a part, then a credit for what nothing covers.
    fn cancellation(&mut self, row: &Row) -> Vec<Planned> {
        let source = self.source;
        let mut left = -row.quantity;
        let mut commands = Vec::new();
        let mut part = 0_u32;
        if let Some(customer) = row.customer
            && let Some(covers) = self.covers.get_mut(&(customer, row.variant))
        {
            for cover in covers.iter_mut().rev() {
                if left <= 0 {
                    break;
                }
                if cover.price < row.price || cover.left == 0 {
                    continue;
                }
                let quantity = left.min(cover.left);
                cover.left -= quantity;
                left -= quantity;
                part += 1;
                commands.extend(refund(source, row, cover, quantity, part));
            }
            covers.retain(|cover| cover.left > 0);
        }
        self.tally.refunds += u64::from(part);
        if left > 0 {
            self.tally.credits_without_order += 1;
            commands.extend(credit(source, row, left));
        }
        commands
    }

    fn bad_debt(&self, row: &Row) -> Planned {
        let source = self.source;
        let invoice = &source.invoices[row.invoice as usize];
        Planned {
            aggregate: "credit",
            id: format!("{invoice}-{}", row.number),
            stock_of: Vec::new(),
            command: "adjust-bad-debt",
            body: json!({
                "amount": gbp(row.price * Decimal::from(row.quantity)),
                "country": source.countries[row.country as usize], "reference": invoice,
                "reason": reason(source, row), "adjusted_at": row.time,
            }),
            key: format!("online-retail:row:{}", row.number),
        }
    }

    fn adjustment(&self, row: &Row) -> Planned {
        let source = self.source;
        Planned {
            aggregate: "inventory",
            id: source.variants[row.variant as usize].to_string(),
            stock_of: vec![row.variant],
            command: "adjust",
            body: json!({
                "delta": row.quantity, "reason": reason(source, row),
                "reference": format!("invoice {} row {}", source.invoices[row.invoice as usize], row.number),
            }),
            key: format!("online-retail:row:{}", row.number),
        }
    }
}

fn refund(source: &Source, row: &Row, cover: &Cover, quantity: i64, part: u32) -> [Planned; 3] {
    let order = &source.invoices[cover.invoice as usize];
    let return_id = format!("row-{}-{part}", row.number);
    let goods = is_goods(&source.variants[row.variant as usize]);
    let planned = |command: &'static str, body: Value| Planned {
        aggregate: "order",
        id: order.clone(),
        command,
        body,
        key: format!("online-retail:row:{}:{part}:{command}", row.number),
        stock_of: vec![row.variant],
    };
    let amount = gbp(row.price * Decimal::from(quantity));
    [
        planned(
            "request-return",
            json!({"return_id": return_id, "lines": [{"line_id": cover.line, "quantity": quantity}],
                   "reason": format!("invoice {}", source.invoices[row.invoice as usize]), "requested_at": row.time}),
        ),
        planned("receive-return", json!({"return_id": return_id, "restock": goods, "received_at": row.time})),
        planned(
            "refund",
            json!({"refund_id": return_id, "return_id": return_id,
                   "lines": [{"line_id": cover.line, "quantity": quantity, "amount": amount}], "refunded_at": row.time}),
        ),
    ]
}

/// A credit without order, and the goods back in stock.
fn credit(source: &Source, row: &Row, quantity: i64) -> Vec<Planned> {
    let invoice = &source.invoices[row.invoice as usize];
    let variant = &source.variants[row.variant as usize];
    let mut body = json!({
        "variant_id": variant, "sku": variant,
        "name": row.description.map_or_else(|| json!(variant), |i| json!(source.descriptions[i as usize])),
        "category": if is_goods(variant) { "Giftware" } else { "Services" },
        "quantity": quantity, "amount": gbp(row.price * Decimal::from(quantity)),
        "country": source.countries[row.country as usize], "reference": invoice,
        "reason": "a cancellation that no order in the file covers", "issued_at": row.time,
    });
    if let Some(customer) = row.customer {
        body["customer_id"] = json!(source.customers[customer as usize]);
    }
    let mut commands = vec![Planned {
        aggregate: "credit",
        id: format!("{invoice}-{}", row.number),
        command: "issue",
        stock_of: Vec::new(),
        body,
        key: format!("online-retail:row:{}:credit", row.number),
    }];
    if is_goods(variant) {
        commands.push(Planned {
            aggregate: "inventory",
            id: variant.to_string(),
            command: "return",
            stock_of: vec![row.variant],
            body: json!({"quantity": quantity, "reference": format!("invoice {invoice} row {}", row.number)}),
            key: format!("online-retail:row:{}:stock", row.number),
        });
    }
    commands
}

fn reason(source: &Source, row: &Row) -> String {
    row.description
        .map_or_else(|| "no description".to_owned(), |i| source.descriptions[i as usize].to_string())
}

fn gbp(amount: Decimal) -> Value {
    json!(
        Money::new(amount, Currency::GBP)
            .expect("prices of at most 15 + 6 digits times at most 10^9 were checked when the file was read")
    )
}

/// Which class a row belongs to.
pub(super) fn classify(source: &Source, row: &Row) -> Class {
    let invoice = &source.invoices[row.invoice as usize];
    if invoice.starts_with('C') && row.quantity < 0 && row.price >= Decimal::ZERO {
        Class::Credit
    } else if invoice.starts_with('A') {
        Class::BadDebtAdjustment
    } else if row.quantity > 0
        && (row.price > Decimal::ZERO || (row.price.is_zero() && row.customer.is_some()))
    {
        Class::OrderLine
    } else {
        Class::StockAdjustment
    }
}

/// What is known of a variant from its rows: the first description and price it was sold under, else any description.
#[derive(Debug, Clone)]
struct First {
    time: Timestamp,
    description: Option<u32>,
    sold: bool,
    price: Option<Decimal>,
}

impl First {
    const fn of(row: &Row) -> Self {
        Self { time: row.time, description: None, sold: false, price: None }
    }

    fn take(&mut self, source: &Source, row: &Row) {
        let sale = classify(source, row) == Class::OrderLine;
        if row.description.is_some() && (self.description.is_none() || (sale && !self.sold)) {
            self.description = row.description;
            self.sold = sale;
        }
        if sale && self.price.is_none() && row.price > Decimal::ZERO {
            self.price = Some(row.price);
        }
    }
}

/// For each variant, the units that the file takes beyond what it brought by then, at the worst moment.
fn opening_stock(source: &Source) -> Vec<i64> {
    let mut balance = vec![0_i64; source.variants.len()];
    let mut lowest = vec![0_i64; source.variants.len()];
    let mut ordered: HashMap<u32, Vec<(usize, i64)>> = HashMap::new();
    for row in &source.rows {
        let variant = row.variant as usize;
        if classify(source, row) == Class::OrderLine && is_goods(&source.variants[variant]) {
            ordered.entry(row.invoice).or_default().push((variant, row.quantity));
        }
    }
    for row in &source.rows {
        let variant = row.variant as usize;
        let mut change = |variant: usize, delta: i64| {
            balance[variant] += delta;
            lowest[variant] = lowest[variant].min(balance[variant]);
        };
        match classify(source, row) {
            // As in the plan: an order is written as a whole at its first line.
            Class::OrderLine => {
                for (variant, quantity) in ordered.remove(&row.invoice).unwrap_or_default() {
                    change(variant, -quantity);
                }
            }
            Class::Credit if is_goods(&source.variants[variant]) => change(variant, -row.quantity),
            Class::StockAdjustment => change(variant, row.quantity),
            Class::Credit | Class::BadDebtAdjustment => {}
        }
    }
    lowest.into_iter().map(|lowest| -lowest).collect()
}
