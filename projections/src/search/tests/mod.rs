//! Tests of the search model, and the generated catalogue they share.

mod analysis;
pub(in crate::search) mod differential;
mod fold;
pub(in crate::search) mod generate;
mod naive;
mod relevance;
mod requests;
mod store;

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use daybook_eventlog::event::RecordedHeader;
use daybook_eventlog::{Position, RecordedEvent};
use daybook_schemas::variant::{AttributeSnapshot, Price, PriceType};
use daybook_schemas::{
    AnyEvent, Currency, Label, Money, Quantity, Sku, Timestamp, Token, VariantId, inventory, order, variant,
};

use super::index::SearchModel;
use super::request::SearchRequest;
use super::{SearchOptions, SearchResponse};
use crate::model::{Projected, ReadModel};

/// Writes events as a log would: positions and revisions without gaps.
#[derive(Default)]
pub(in crate::search) struct Log {
    pub(in crate::search) events: Vec<Projected>,
    revisions: HashMap<String, u64>,
}

impl Log {
    pub(in crate::search) fn push(&mut self, stream: &str, event: impl Into<AnyEvent>) {
        let event = event.into();
        let revision = self.revisions.entry(stream.to_owned()).or_default();
        *revision += 1;
        let header = RecordedHeader {
            position: self.events.len() as Position + 1,
            revision: *revision,
            event_id: uuid::Uuid::nil(),
            version: event.version(),
            recorded_at: 0,
        };
        let data = Bytes::from(event.to_data());
        let recorded = RecordedEvent::from_parts(header, stream, event.wire_name(), &data, b"{}");
        self.events.push(Projected { recorded, event });
    }

    pub(in crate::search) fn variant(&mut self, id: &str, event: impl Into<variant::Event>) {
        self.push(&format!("variant-{id}"), event.into());
    }

    /// Creates a variant and makes it sellable.
    pub(in crate::search) fn sell(&mut self, created: variant::Created) {
        let id = created.variant_id.to_string();
        self.variant(&id, created);
        self.variant(&id, variant::Submitted { from: variant::Lifecycle::Draft, reason: None });
        self.variant(&id, variant::Activated { from: variant::Lifecycle::PendingApproval, reason: None });
    }

    pub(in crate::search) fn stock(&mut self, id: &str, in_stock: bool) {
        let event: inventory::Event = if in_stock {
            inventory::BackInStock { available: 1 }.into()
        } else {
            inventory::OutOfStock {}.into()
        };
        self.push(&format!("inventory-{id}"), event);
    }

    /// Goods arrive.
    pub(in crate::search) fn receive(&mut self, id: &str) -> Projected {
        self.push(&format!("inventory-{id}"), received());
        self.events.last().unwrap().clone()
    }

    pub(in crate::search) fn order(&mut self, number: usize, lines: &[(&str, u64)]) {
        let unit_price = gbp("1");
        let line = |(line_id, &(id, quantity)): (u32, &(&str, u64))| order::Line {
            line_id,
            variant_id: VariantId::new(id).unwrap(),
            sku: Sku::new(id).unwrap(),
            name: label("thing"),
            brand: None,
            category: label("things"),
            attributes: Vec::new(),
            quantity: Quantity::new(quantity).unwrap(),
            unit_price,
            compare_at: None,
            discounts: Vec::new(),
            tax: None,
            total: unit_price,
            stocked: true,
        };
        let placed = order::Placed {
            order_id: daybook_schemas::OrderId::new(number.to_string()).unwrap(),
            order_number: label("1"),
            customer_id: None,
            lines: (1..).zip(lines).map(line).collect(),
            total: unit_price,
            payment_method: Token::new("card").unwrap(),
            shipping_address: None,
            billing_address: None,
            placed_at: Timestamp::EPOCH,
        };
        self.push(&format!("order-{number}"), order::Event::from(placed));
    }

    pub(in crate::search) fn head(&self) -> Position {
        self.events.len() as Position
    }
}

pub(in crate::search) fn received() -> inventory::Event {
    let (location, quantity) = (daybook_schemas::LocationId::default(), Quantity::new(3).unwrap());
    inventory::Received { location, quantity, from_incoming: 0, reference: None }.into()
}

pub(in crate::search) fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

pub(in crate::search) fn gbp(amount: &str) -> Money {
    Money::parse(amount, Currency::GBP).unwrap()
}

pub(in crate::search) fn price(amount: &str, compare_at: Option<&str>) -> Price {
    Price { amount: gbp(amount), compare_at: compare_at.map(gbp), price_type: PriceType::Regular }
}

pub(in crate::search) fn attribute(kind: &str, value: &str) -> AttributeSnapshot {
    AttributeSnapshot {
        kind: Token::new(kind).unwrap(),
        value: label(value),
        value_id: daybook_schemas::ValueId::new(format!("{kind}-{}", value.to_lowercase().replace(' ', "-")))
            .unwrap(),
        display: label(value),
        hex: None,
        rank: None,
    }
}

pub(in crate::search) fn created(id: &str, name: &str) -> variant::Created {
    variant::Created {
        variant_id: VariantId::new(id).unwrap(),
        product_id: daybook_schemas::ProductId::new("p").unwrap(),
        product_group: label("p"),
        sku: Sku::new(id).unwrap(),
        name: label(name),
        brand: label("Acme"),
        category: label("Things"),
        description: None,
        attributes: Vec::new(),
        config_hash: String::new(),
        config_signature: String::new(),
        channels: Vec::new(),
        regions: Vec::new(),
        price: Some(price("10", None)),
        created_at: Timestamp::EPOCH,
    }
}

pub(in crate::search) fn open(folder: &Path) -> SearchModel {
    SearchModel::open(folder, SearchOptions { writer_heap_bytes: 16_000_000, ..SearchOptions::default() })
        .unwrap()
}

/// Applies what the model handles of these events and commits.
pub(in crate::search) fn project(model: &mut SearchModel, events: &[Projected]) {
    project_into(model, events);
}

/// The same for a model on any engine.
pub(in crate::search) fn project_into(model: &mut dyn ReadModel, events: &[Projected]) {
    for event in events {
        if model.handles(event.recorded.event_type()) {
            model.apply(event).unwrap();
        }
    }
    if let Some(last) = events.last() {
        model.commit(last.recorded.position).unwrap();
    }
}

pub(in crate::search) fn request(pairs: &[(&str, &str)]) -> SearchRequest {
    SearchRequest::parse(pairs.iter().copied()).unwrap()
}

pub(in crate::search) fn search(model: &SearchModel, pairs: &[(&str, &str)]) -> SearchResponse {
    model.reader().search(&request(pairs)).unwrap()
}

pub(in crate::search) fn ids(response: &SearchResponse) -> Vec<&str> {
    response.hits.iter().map(|hit| hit.variant_id.as_str()).collect()
}
