//! Search done plainly over the rows, to compare with: every group looked at for every document and facet.

use std::collections::{BTreeMap, BTreeSet};

use daybook_schemas::variant::Lifecycle;
use rust_decimal::Decimal;

use super::super::analysis::{indexed_code, terms, tokens};
use super::super::document::{Listing, SearchDocument};
use super::super::request::{SearchRequest, Sort};
use super::super::schema::tie;

/// Group names in the order of [`fits`].
const GROUPS: [&str; 10] = [
    "category",
    "brand",
    "attr.color",
    "attr.size",
    "channel",
    "region",
    "currency",
    "lifecycle",
    "price",
    "in_stock",
];

fn same(wanted: &[String], value: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|w| w.trim().to_lowercase() == value.to_lowercase())
}

/// Whether a document passes each group.
fn fits(request: &SearchRequest, document: &SearchDocument, listing: &Listing) -> [bool; 10] {
    let attribute = |kind: &str| {
        request.attributes.get(kind).is_none_or(|wanted| {
            listing.attributes.iter().any(|a| a.kind.as_str() == kind && same(wanted, a.value.as_str()))
        })
    };
    let place = |wanted: &Option<daybook_schemas::Token>, places: &[daybook_schemas::Token]| {
        wanted.as_ref().is_none_or(|w| places.is_empty() || places.contains(w))
    };
    let amount = listing.price.map(|price| price.amount);
    let price = (request.price_min.is_none() && request.price_max.is_none())
        || amount.is_some_and(|amount| {
            request.price_min.is_none_or(|min| amount >= min)
                && request.price_max.is_none_or(|max| amount <= max)
        });
    let lifecycle = if request.lifecycle.is_empty() {
        matches!(listing.lifecycle, Lifecycle::Active | Lifecycle::Mature | Lifecycle::Clearance)
    } else {
        request.lifecycle.contains(&listing.lifecycle)
    };
    [
        same(&request.category, listing.category.as_str()),
        same(&request.brand, listing.brand.as_str()),
        attribute("color"),
        attribute("size"),
        place(&request.channel, &listing.channels),
        place(&request.region, &listing.regions),
        request.currency.is_none_or(|c| listing.price.is_some_and(|price| price.currency == c)),
        lifecycle,
        price,
        request.in_stock.is_none_or(|wanted| wanted == document.in_stock),
    ]
}

/// Words found as they are, as the beginning of the last, or as a SKU. (Synonyms and typos have tests of their own.)
fn matches(request: &SearchRequest, listing: &Listing) -> bool {
    let Some(q) = &request.q else { return true };
    let mut held: BTreeSet<String> = BTreeSet::new();
    for text in [&listing.name, &listing.brand, &listing.category] {
        held.extend(terms(text.as_str()));
    }
    listing.attributes.iter().for_each(|a| held.extend(terms(a.value.as_str())));
    listing.description.iter().for_each(|text| held.extend(terms(text.as_str())));
    let codes: Vec<String> = indexed_code(listing.sku.as_str()).split(' ').map(str::to_owned).collect();
    let words: Vec<&str> = q.split_whitespace().collect();
    words.iter().enumerate().all(|(at, word)| {
        let last = at + 1 == words.len() && !q.ends_with(' ');
        let lower = word.to_lowercase();
        let code = codes.contains(&lower)
            || last
                && lower.len() >= 3
                && lower.contains(|c: char| c.is_ascii_digit())
                && codes.iter().any(|c| c.starts_with(&lower));
        let mut parts = Vec::new();
        tokens(word, |token, _| parts.push(token.to_owned()));
        let count = parts.len();
        let each = parts.iter().enumerate().all(|(at, part)| {
            terms(part).iter().all(|term| held.contains(term))
                || last
                    && at + 1 == count
                    && part.len() >= 2
                    && held.iter().any(|term| term.starts_with(part.as_str()))
        });
        code || each
    })
}

/// What a search must find: total, ids in order (unless by relevance, then sorted), facets.
pub(super) struct Expected {
    pub(super) ids: Vec<String>,
    pub(super) facets: BTreeMap<String, BTreeMap<String, u64>>,
}

pub(super) fn search(request: &SearchRequest, documents: &[SearchDocument]) -> Expected {
    let mut found: Vec<&SearchDocument> = Vec::new();
    let mut facets: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for document in documents {
        let Some(listing) = &document.listing else { continue };
        if !matches(request, listing) {
            continue;
        }
        let fit = fits(request, document, listing);
        if fit.iter().all(|fit| *fit) {
            found.push(document);
        }
        for (facet, value) in values(document, listing) {
            let others = GROUPS.iter().zip(fit).filter(|(name, _)| **name != facet).all(|(_, fit)| fit);
            if others {
                *facets.entry(facet).or_default().entry(value).or_default() += 1;
            }
        }
    }
    found.sort_by_key(|document| order(request, document));
    for facet in ["channel", "region"] {
        let places = facets.remove(facet).unwrap_or_default();
        let everywhere = places.get("*").copied().unwrap_or(0);
        let named = places
            .into_iter()
            .filter(|(place, _)| place != "*")
            .map(|(place, count)| (place, count + everywhere));
        let named: BTreeMap<String, u64> = named.collect();
        if !named.is_empty() {
            facets.insert(facet.to_owned(), named);
        }
    }
    Expected { ids: found.into_iter().map(|d| d.variant_id.to_string()).collect(), facets }
}

fn order(request: &SearchRequest, document: &SearchDocument) -> (Decimal, u64, String) {
    let Some(listing) = &document.listing else { unreachable!("only listed ones are found") };
    let price = listing.price.map(|price| price.amount);
    let key = match request.effective_sort() {
        Sort::Relevance => return (Decimal::ZERO, 0, document.variant_id.to_string()),
        Sort::PriceAscending => price.unwrap_or(Decimal::MAX),
        Sort::PriceDescending => -price.unwrap_or(Decimal::NEGATIVE_ONE),
        Sort::Newest => -Decimal::from(listing.created_at.as_micros()),
        Sort::Popularity => -Decimal::from(document.popularity),
        Sort::Discount => -Decimal::from(listing.discount_percent),
    };
    (key, tie(document.variant_id.as_str()), String::new())
}

/// The facet values of a document; a price in the bucket that holds it.
fn values(document: &SearchDocument, listing: &Listing) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    let mut add = |facet: &str, value: &str| all.insert((facet.to_owned(), value.to_owned()));
    add("category", listing.category.as_str());
    add("brand", listing.brand.as_str());
    add("lifecycle", listing.lifecycle.as_str());
    add("in_stock", if document.in_stock { "true" } else { "false" });
    for attribute in &listing.attributes {
        add(&format!("attr.{}", attribute.kind), attribute.value.as_str());
    }
    for (facet, places) in [("channel", &listing.channels), ("region", &listing.regions)] {
        for place in places {
            add(facet, place.as_str());
        }
        if places.is_empty() {
            add(facet, "*");
        }
    }
    if let Some(price) = listing.price {
        let amount = price.amount;
        let ends =
            ["0", "1", "2", "5", "10", "20", "50", "100", "200", "500", "1000", "2000", "5000", "10000"];
        let holding = ends.windows(2).find(|pair| {
            let number = |text: &str| text.parse::<Decimal>().unwrap();
            number(pair[0]) <= amount && amount < number(pair[1])
        });
        let pair = holding.unwrap();
        add("price", &format!("{}-{}", pair[0], pair[1]));
    }
    all
}
