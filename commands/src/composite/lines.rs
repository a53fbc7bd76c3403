//! Complete copies of variants for the lines of an order, and what the order needs of each variant's stock.

use daybook_aggregates::order::{Existing, LineState, NewLine};
use daybook_aggregates::{Kind, Role};
use daybook_eventlog::StreamId;
use daybook_schemas::order::Discount;
use daybook_schemas::prices::Wanted;
use daybook_schemas::{Label, Money, Quantity, ReservationId, Token, VariantId};
use hashbrown::HashMap;

use super::{Reasons, for_sale, refusal};
use crate::workspace::{Halt, Workspace, stream};

/// A line as a command asks for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) variant_id: &'a VariantId,
    pub(crate) quantity: Quantity,
    pub(crate) unit_price: Option<Money>,
    pub(crate) discounts: &'a [Discount],
    pub(crate) tax: Option<Money>,
    pub(crate) name: Option<&'a Label>,
    pub(crate) stocked: bool,
    pub(crate) reservation_id: Option<&'a ReservationId>,
}

/// Who buys, as far as it decides what is sold and for how much.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Buyer {
    pub(crate) wanted: Wanted,
    pub(crate) region: Option<Token>,
}

/// Whether lines may be sold now, or were sold at another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The variants must be for sale, and their price is that of now.
    Now,
    /// The variants must exist.
    Past,
}

/// What an order needs of one variant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Need {
    pub(crate) variant_id: VariantId,
    pub(crate) stream: StreamId,
    pub(crate) quantity: Quantity,
    /// Holds of the customer's own that the order takes over.
    pub(crate) taken_over: Vec<ReservationId>,
}

/// The streams that the lines speak of, each once: all variants, and the stock of those that take from it.
pub(crate) fn streams(lines: &[Asked<'_>]) -> Vec<StreamId> {
    let mut streams = Vec::with_capacity(lines.len() * 2);
    for line in lines {
        streams.push(stream::variant(line.variant_id));
        if line.stocked {
            streams.push(stream::inventory(line.variant_id));
        }
    }
    streams.sort_unstable();
    streams.dedup();
    streams
}

/// The lines as they will stand in the order. Collects every reason against any of them.
pub(crate) fn snapshots(
    workspace: &mut Workspace<'_>,
    lines: &[Asked<'_>],
    when: When,
    buyer: &Buyer,
    reasons: &mut Reasons,
) -> Result<Vec<NewLine>, Halt> {
    let roles = workspace.context.roles;
    let sets_prices = roles.contains(Role::Operator) || roles.contains(Role::System);
    let mut new = Vec::with_capacity(lines.len());
    for line in lines {
        let id = line.variant_id.as_str();
        let priced = line.unit_price.is_some() || !line.discounts.is_empty() || line.tax.is_some();
        if priced && !sets_prices {
            let detail = "only operators set the price, the discounts and the tax of a line";
            reasons.add(refusal("forbidden", Kind::Forbidden, detail), id);
            continue;
        }
        let made = snapshot(workspace, line, when, buyer);
        new.extend(reasons.collect(made, id)?);
    }
    Ok(new)
}

fn snapshot(
    workspace: &mut Workspace<'_>,
    line: &Asked<'_>,
    when: When,
    Buyer { wanted, region }: &Buyer,
) -> Result<NewLine, Halt> {
    let now = workspace.context.now;
    let state = workspace.variant(line.variant_id)?;
    let price = state.price_for(wanted, now);
    let Some(variant) = state.existing() else {
        return Err(refusal("not_found", Kind::NotFound, "there is no such variant").into());
    };
    if when == When::Now && !variant.lifecycle.is_sellable() {
        return Err(for_sale::not_for_sale(variant.lifecycle).into());
    }
    for (what, where_to, sold) in
        [("channel", &wanted.channel, &variant.channels), ("region", region, &variant.regions)]
    {
        if let Some(name) = where_to.as_ref().filter(|name| !sold.is_empty() && !sold.contains(name)) {
            let detail = format!("the variant is not sold in {what} {name}");
            return Err(refusal("unprocessable", Kind::Unprocessable, detail).into());
        }
    }
    let Some(unit_price) = line.unit_price.or_else(|| price.map(|price| price.amount)) else {
        return Err(refusal("unprocessable", Kind::Unprocessable, no_price(wanted)).into());
    };
    let compare_at = price.filter(|_| line.unit_price.is_none()).and_then(|price| price.compare_at);
    Ok(NewLine {
        variant_id: variant.variant_id.clone(),
        sku: variant.sku.clone(),
        name: line.name.unwrap_or(&variant.name).clone(),
        brand: Some(variant.brand.clone()),
        category: variant.category.clone(),
        attributes: variant.attributes.clone(),
        quantity: line.quantity,
        unit_price,
        compare_at,
        discounts: line.discounts.to_vec(),
        tax: line.tax,
        stocked: line.stocked,
    })
}

fn no_price(wanted: &Wanted) -> String {
    match wanted.currency {
        Some(currency) => format!("the variant has no price in {currency}"),
        None => "the variant has no price".to_owned(),
    }
}

/// If the command asks for just what the order has, the order's own lines: so that a repeat is known as one whatever
/// became of the variants since.
pub(crate) fn repeated(existing: &Existing, lines: &[Asked<'_>]) -> Option<Vec<NewLine>> {
    let same = |state: &LineState, asked: &Asked<'_>| {
        state.line.variant_id == *asked.variant_id
            && state.line.quantity == asked.quantity
            && state.line.stocked == asked.stocked
            && asked.unit_price.is_none_or(|price| price == state.line.unit_price)
            && (asked.discounts.is_empty() || asked.discounts == state.line.discounts)
            && asked.tax.is_none_or(|tax| state.line.tax == Some(tax))
            && asked.name.is_none_or(|name| *name == state.line.name)
    };
    let all = existing.lines.len() == lines.len()
        && existing.lines.iter().zip(lines).all(|(state, asked)| same(state, asked));
    all.then(|| existing.lines.iter().map(|state| again(state.line.clone())).collect())
}

fn again(line: daybook_schemas::order::Line) -> NewLine {
    NewLine {
        variant_id: line.variant_id,
        sku: line.sku,
        name: line.name,
        brand: line.brand,
        category: line.category,
        attributes: line.attributes,
        quantity: line.quantity,
        unit_price: line.unit_price,
        compare_at: line.compare_at,
        discounts: line.discounts,
        tax: line.tax,
        stocked: line.stocked,
    }
}

/// What the lines need of each variant's stock, in the order of their first line.
pub(crate) fn needs(lines: &[Asked<'_>]) -> Result<Vec<Need>, Halt> {
    let mut sums: Vec<(Need, u64)> = Vec::new();
    let mut places: HashMap<&VariantId, usize> = HashMap::with_capacity(lines.len());
    for line in lines.iter().filter(|line| line.stocked) {
        let at = *places.entry(line.variant_id).or_insert_with(|| {
            let need = Need {
                variant_id: line.variant_id.clone(),
                stream: stream::inventory(line.variant_id),
                quantity: line.quantity,
                taken_over: Vec::new(),
            };
            sums.push((need, 0));
            sums.len() - 1
        });
        sums[at].1 += u64::from(line.quantity.get());
        let taken_over = &mut sums[at].0.taken_over;
        taken_over.extend(line.reservation_id.filter(|id| !taken_over.contains(id)).cloned());
    }
    sums.into_iter()
        .map(|(need, sum)| {
            let quantity = Quantity::new(sum).map_err(|error| {
                Halt::from(refusal("unprocessable", Kind::Unprocessable, error.to_string()))
            })?;
            Ok(Need { quantity, ..need })
        })
        .collect()
}
