//! The rows of the search model and the pure folds that make them.
//!
//! Two kinds of rows. A [`SearchDocument`] per variant is what is found. A [`Counter`] per variant that was ever ordered
//! holds the exact number of units sold; the document repeats it rounded down ([`popularity_bucket`]), so that a sale
//! rewrites the small counter and only now and then the document. Both are functions of the log alone: a rebuild gives the
//! same rows.

use daybook_schemas::variant::{AttributeSnapshot, Event as VariantEvent, Lifecycle};
use daybook_schemas::{
    AnyEvent, Label, ProductId, Sku, Text, Timestamp, Token, VariantId, inventory, order, variant,
};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};

use crate::amounts::PriceView;

/// One variant as search knows it: flat, joins nothing.
///
/// Without a `listing` it is a stub that no search finds: of a variant whose stock or orders came before its creation, or
/// that is archived (kept so that a gap in its stream still shows).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchDocument {
    pub variant_id: VariantId,
    /// Revision of the variant's stream; 0: not created yet.
    pub variant_revision: u64,
    /// Revision of the last event of the inventory stream that flipped `in_stock`.
    pub inventory_revision: u64,
    /// Whether units are available. Changes only when that flips, never once per unit sold.
    pub in_stock: bool,
    /// Units ordered, rounded down to three significant binary digits.
    pub popularity: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<Listing>,
}

/// What is searched and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    pub product_id: ProductId,
    pub product_group: Label,
    pub sku: Sku,
    pub name: Label,
    pub brand: Label,
    pub category: Label,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    pub attributes: Vec<AttributeSnapshot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceView>,
    /// Whole percent off the compare-at price, rounded down; 0 without one.
    pub discount_percent: u8,
    pub lifecycle: Lifecycle,
    /// Where it is found; empty: everywhere.
    pub channels: Vec<Token>,
    /// Where it is found; empty: everywhere.
    pub regions: Vec<Token>,
    pub created_at: Timestamp,
}

/// Units of a variant ordered so far (`order.placed`, stocked lines), whatever became of the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    pub variant_id: VariantId,
    pub units: u64,
}

/// What an event says to search.
#[derive(Debug, Clone, Copy)]
pub(super) enum Said<'e> {
    Variant(&'e VariantEvent),
    Inventory(&'e inventory::Event),
    Placed(&'e order::Placed),
    Nothing,
}

impl<'e> Said<'e> {
    pub(super) const fn by(event: &'e AnyEvent) -> Self {
        match event {
            AnyEvent::Variant(event) => Self::Variant(event),
            AnyEvent::Inventory(event) if says_where_stock_is(event) => Self::Inventory(event),
            AnyEvent::Order(order::Event::Placed(placed)) => Self::Placed(placed),
            AnyEvent::Inventory(_)
            | AnyEvent::Order(_)
            | AnyEvent::Credit(_)
            | AnyEvent::Claim(_)
            | AnyEvent::Sequence(_)
            | AnyEvent::Idempotency(_)
            | AnyEvent::Size(_)
            | AnyEvent::Color(_)
            | AnyEvent::AttributeType(_)
            | AnyEvent::AttributeValue(_)
            | AnyEvent::Category(_)
            | AnyEvent::Product(_)
            | AnyEvent::Operations(_) => Self::Nothing,
        }
    }
}

/// Whether the event can put a variant in stock or out of it. Goods that leave say so by an event of their own, if at all.
const fn says_where_stock_is(event: &inventory::Event) -> bool {
    event.is_arrival() || matches!(event, inventory::Event::OutOfStock(_) | inventory::Event::BackInStock(_))
}

/// Why an event does not fit the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// The stream's revision is not one more than the document's.
    Gap { from: u64, to: u64 },
    /// The event cannot happen in this state; the text says why.
    Impossible(&'static str),
}

impl SearchDocument {
    /// The row of a variant of which only a side event is known.
    #[must_use]
    pub const fn stub(variant_id: VariantId) -> Self {
        Self {
            variant_id,
            variant_revision: 0,
            inventory_revision: 0,
            in_stock: false,
            popularity: 0,
            listing: None,
        }
    }

    /// Whether the variant was not created yet.
    #[must_use]
    pub const fn is_unborn(&self) -> bool {
        self.variant_revision == 0
    }
}

/// Folds an event of the variant's own stream. Every event moves the revision, also those that search shows nothing of.
pub fn fold_variant(
    before: Option<SearchDocument>,
    variant_id: &VariantId,
    event: &VariantEvent,
    revision: u64,
) -> Result<SearchDocument, Misfit> {
    let mut document = before.unwrap_or_else(|| SearchDocument::stub(variant_id.clone()));
    if revision != document.variant_revision + 1 {
        return Err(Misfit::Gap { from: document.variant_revision, to: revision });
    }
    document.variant_revision = revision;
    if let VariantEvent::Created(created) = event {
        if document.listing.is_some() {
            return Err(Misfit::Impossible("a variant is created once"));
        }
        document.listing = Some(listed(created));
        return Ok(document);
    }
    let Some(listing) = document.listing.as_mut() else {
        // An archived variant says nothing more to search; a stream that does not begin with its creation is broken.
        return if revision == 1 {
            Err(Misfit::Impossible("a variant's stream begins with its creation"))
        } else {
            Ok(document)
        };
    };
    if apply(listing, event) == Found::Nowhere {
        document.listing = None;
    }
    Ok(document)
}

/// Whether search still finds the variant.
#[derive(PartialEq, Eq)]
enum Found {
    Here,
    Nowhere,
}

fn apply(listing: &mut Listing, event: &VariantEvent) -> Found {
    match event {
        VariantEvent::Created(_)
        | VariantEvent::PriceScheduled(_)
        | VariantEvent::PriceScheduleCancelled(_)
        // Search shows, filters and sorts by the variant's own price.
        | VariantEvent::ListPriceChanged(_)
        | VariantEvent::ListPriceScheduled(_)
        | VariantEvent::Locked(_)
        | VariantEvent::Unlocked(_)
        | VariantEvent::ReferencesBound(_) => {}
        VariantEvent::AttributeRefreshed(changed) => {
            for own in listing.attributes.iter_mut().filter(|own| own.value_id == changed.value_id) {
                own.display = changed.display.clone();
                own.hex.clone_from(&changed.hex);
                own.rank = changed.rank;
            }
        }
        VariantEvent::PriceChanged(changed) => {
            let price = PriceView::from(changed.price);
            listing.discount_percent = discount_percent(&price);
            listing.price = Some(price);
        }
        VariantEvent::DetailsChanged(changed) => change_details(listing, changed),
        VariantEvent::SegmentationChanged(changed) => {
            listing.channels.clone_from(&changed.channels);
            listing.regions.clone_from(&changed.regions);
        }
        VariantEvent::Submitted(_) => listing.lifecycle = Lifecycle::PendingApproval,
        VariantEvent::Rejected(_) => listing.lifecycle = Lifecycle::Draft,
        VariantEvent::Activated(_) | VariantEvent::Reactivated(_) => listing.lifecycle = Lifecycle::Active,
        VariantEvent::Matured(_) => listing.lifecycle = Lifecycle::Mature,
        VariantEvent::Cleared(_) => listing.lifecycle = Lifecycle::Clearance,
        VariantEvent::Discontinued(_) => listing.lifecycle = Lifecycle::Discontinued,
        VariantEvent::Archived(_) => return Found::Nowhere,
    }
    Found::Here
}

fn listed(created: &variant::Created) -> Listing {
    let price = created.price.map(PriceView::from);
    Listing {
        product_id: created.product_id.clone(),
        product_group: created.product_group.clone(),
        sku: created.sku.clone(),
        name: created.name.clone(),
        brand: created.brand.clone(),
        category: created.category.clone(),
        description: created.description.clone(),
        attributes: created.attributes.clone(),
        discount_percent: price.as_ref().map_or(0, discount_percent),
        price,
        lifecycle: Lifecycle::Draft,
        channels: created.channels.clone(),
        regions: created.regions.clone(),
        created_at: created.created_at,
    }
}

fn change_details(listing: &mut Listing, changed: &variant::DetailsChanged) {
    let fields = [
        (&mut listing.name, &changed.name),
        (&mut listing.brand, &changed.brand),
        (&mut listing.category, &changed.category),
        (&mut listing.product_group, &changed.product_group),
    ];
    for (field, new) in fields {
        if let Some(new) = new {
            field.clone_from(new);
        }
    }
    if let Some(description) = &changed.description {
        listing.description = Some(description.clone());
    }
}

/// Folds an event of the inventory stream. `None`: the event says nothing to search.
pub fn fold_inventory(
    before: Option<SearchDocument>,
    variant_id: &VariantId,
    event: &inventory::Event,
    revision: u64,
) -> Result<Option<SearchDocument>, Misfit> {
    let mut document = before.unwrap_or_else(|| SearchDocument::stub(variant_id.clone()));
    let in_stock = if matches!(event, inventory::Event::OutOfStock(_)) {
        false
    } else if matches!(event, inventory::Event::BackInStock(_))
        // The first goods to arrive put it in stock; later ones say so by an event of their own.
        || (event.is_arrival() && document.inventory_revision == 0)
    {
        true
    } else {
        return Ok(None);
    };
    // Only some events of this stream come here, so revisions may skip, but never go back.
    if revision <= document.inventory_revision {
        return Err(Misfit::Gap { from: document.inventory_revision, to: revision });
    }
    document.inventory_revision = revision;
    document.in_stock = in_stock;
    Ok(Some(document))
}

/// Units rounded down to three significant binary digits: 1 to 8, 10, 12, 14, 16, 20 … A variant's document is written
/// at most four times for each doubling of its sales; two variants in one bucket are equally popular.
#[must_use]
pub const fn popularity_bucket(units: u64) -> u64 {
    let digits = u64::BITS - units.leading_zeros();
    if digits <= 3 { units } else { units & (u64::MAX << (digits - 3)) }
}

/// Whole percent off the compare-at price, rounded down; 0 without one, or if the price is not below it.
#[must_use]
pub fn discount_percent(price: &PriceView) -> u8 {
    let Some(compare_at) = price.compare_at else { return 0 };
    let (now, was) = (price.amount, compare_at);
    if was <= Decimal::ZERO || now >= was || now < Decimal::ZERO {
        return 0;
    }
    ((was - now) * Decimal::ONE_HUNDRED / was).floor().to_u8().unwrap_or(0)
}
