//! What may be asked: a [`SearchRequest`], parsed from the pairs of a query string.
//!
//! Values of one group are alternatives, groups must all hold. What a request does not say:
//!
//! - without `lifecycle`, only sellable variants (active, mature, clearance) are found; archived ones never
//! - without `channel` or `region`, variants of all channels or regions are found: that is for back offices; a storefront
//!   always names its own. With one, only variants of it, or of no particular one, are found
//! - without `currency`, prices are compared as numbers, whatever their currency
//! - without `facets`, those of a storefront's side bar are counted: category, brand, attributes, price, in stock
//! - without `sort`, by relevance if there are words to search for, else by popularity; so too with `sort=relevance`

use std::collections::{BTreeMap, BTreeSet};

use daybook_schemas::money::parse_decimal;
use daybook_schemas::variant::Lifecycle;
use daybook_schemas::{Currency, Label, Token};
use rust_decimal::Decimal;

use crate::model::StoreError;

/// Most hits on a page.
pub const MAX_LIMIT: usize = 100;
/// Hits on a page unless asked otherwise.
pub const DEFAULT_LIMIT: usize = 20;
/// Most values listed of one facet, and unless asked otherwise.
pub const MAX_FACET_LIMIT: usize = 1_000;
pub const DEFAULT_FACET_LIMIT: usize = 100;
/// Longest text to search for, in characters.
pub const MAX_QUERY_CHARS: usize = 300;
/// Most values of one group.
const MAX_VALUES: usize = 100;
/// Attribute types that a request may filter by: with the other groups they stay below 64.
const MAX_ATTRIBUTE_TYPES: usize = 50;

/// Why a search was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SearchError {
    /// The request makes no sense (`invalid_request`); the text says what to do.
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The order of hits. Ties are broken the same way everywhere, so that pages never overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sort {
    /// How well the words fit.
    Relevance,
    PriceAscending,
    PriceDescending,
    Newest,
    /// Units ordered, in steps (`document::popularity_bucket`).
    Popularity,
    /// Percent off.
    Discount,
}

impl Sort {
    const NAMES: [(&'static str, Self); 7] = [
        ("relevance", Self::Relevance),
        ("price", Self::PriceAscending),
        ("price_asc", Self::PriceAscending),
        ("price_desc", Self::PriceDescending),
        ("newest", Self::Newest),
        ("popularity", Self::Popularity),
        ("discount", Self::Discount),
    ];
}

/// A ready-made selection: fills in what the request leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Collection {
    /// Everything sellable, most popular first.
    Browse,
    /// In stock, most popular first.
    Trending,
    /// Newest first.
    NewArrivals,
    /// In clearance, biggest discount first.
    Clearance,
}

impl Collection {
    const NAMES: [(&'static str, Self); 4] = [
        ("browse", Self::Browse),
        ("trending", Self::Trending),
        ("new_arrivals", Self::NewArrivals),
        ("clearance", Self::Clearance),
    ];

    fn fill(self, request: &mut SearchRequest) {
        let sort = match self {
            Self::Browse => Sort::Popularity,
            Self::Trending => {
                request.in_stock.get_or_insert(true);
                Sort::Popularity
            }
            Self::NewArrivals => Sort::Newest,
            Self::Clearance => {
                if request.lifecycle.is_empty() {
                    request.lifecycle = vec![Lifecycle::Clearance];
                }
                Sort::Discount
            }
        };
        request.sort.get_or_insert(sort);
    }
}

/// Something that hits are counted by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Facet {
    Category,
    Brand,
    /// Every attribute type.
    Attributes,
    /// One attribute type.
    Attribute(String),
    Price,
    InStock,
    Lifecycle,
    Channel,
    Region,
}

/// Which facets are counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FacetSelection {
    /// Category, brand, attributes, price, in stock.
    #[default]
    Storefront,
    None,
    All,
    These(BTreeSet<Facet>),
}

impl FacetSelection {
    /// Whether a facet is counted.
    #[must_use]
    pub fn wants(&self, facet: &Facet) -> bool {
        match self {
            Self::Storefront => !matches!(facet, Facet::Lifecycle | Facet::Channel | Facet::Region),
            Self::None => false,
            Self::All => true,
            Self::These(these) => {
                these.contains(facet)
                    || matches!(facet, Facet::Attribute(_)) && these.contains(&Facet::Attributes)
            }
        }
    }

    pub(super) fn wants_attributes(&self) -> bool {
        match self {
            Self::These(these) => {
                these.iter().any(|facet| matches!(facet, Facet::Attributes | Facet::Attribute(_)))
            }
            Self::Storefront | Self::All => true,
            Self::None => false,
        }
    }
}

/// A search.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SearchRequest {
    /// Words that must all be there; the last may be unfinished.
    pub q: Option<String>,
    pub category: Vec<String>,
    pub brand: Vec<String>,
    /// Attribute type → values.
    pub attributes: BTreeMap<String, Vec<String>>,
    /// Inclusive.
    pub price_min: Option<Decimal>,
    /// Inclusive.
    pub price_max: Option<Decimal>,
    pub currency: Option<Currency>,
    pub in_stock: Option<bool>,
    pub lifecycle: Vec<Lifecycle>,
    pub channel: Option<Token>,
    pub region: Option<Token>,
    pub sort: Option<Sort>,
    pub facets: FacetSelection,
    pub facet_limit: Option<usize>,
    pub limit: Option<usize>,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

impl SearchRequest {
    /// Reads the decoded pairs of a query string. Empty values count as absent; `min_position` is the gateway's and passed
    /// over; any other unknown name is refused, so that a misspelt filter is not silently ignored.
    pub fn parse<K: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, SearchError> {
        let mut request = Self::default();
        let mut collection = None;
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            if value.trim().is_empty() && name != "q" {
                continue;
            }
            if name == "collection" {
                collection = Some(named(name, value, &Collection::NAMES)?);
            } else {
                request.set(name, value)?;
            }
        }
        // Without words nothing fits better than anything else.
        if request.q.is_none() {
            request.sort.take_if(|sort| *sort == Sort::Relevance);
        }
        if let Some(collection) = collection {
            collection.fill(&mut request);
        }
        request.check()?;
        Ok(request)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), SearchError> {
        match name {
            "q" if value.trim().is_empty() => self.q = None,
            "q" => once(name, &mut self.q, value.to_owned())?,
            "category" => push(name, &mut self.category, label(name, value)?)?,
            "brand" => push(name, &mut self.brand, label(name, value)?)?,
            "price_min" => once(name, &mut self.price_min, price(name, value)?)?,
            "price_max" => once(name, &mut self.price_max, price(name, value)?)?,
            "currency" => {
                once(name, &mut self.currency, Currency::new(value).map_err(|e| invalid(name, &e))?)?
            }
            "in_stock" => {
                once(name, &mut self.in_stock, named(name, value, &[("true", true), ("false", false)])?)?
            }
            "lifecycle" => {
                for state in value.split(',') {
                    push(name, &mut self.lifecycle, lifecycle(state.trim())?)?;
                }
            }
            "channel" => once(name, &mut self.channel, Token::new(value).map_err(|e| invalid(name, &e))?)?,
            "region" => once(name, &mut self.region, Token::new(value).map_err(|e| invalid(name, &e))?)?,
            "sort" => once(name, &mut self.sort, named(name, value, &Sort::NAMES)?)?,
            "facets" => self.set_facets(value)?,
            "facet_limit" => once(name, &mut self.facet_limit, count(name, value, MAX_FACET_LIMIT)?)?,
            "limit" => once(name, &mut self.limit, count(name, value, MAX_LIMIT)?)?,
            "cursor" => once(name, &mut self.cursor, value.to_owned())?,
            "min_position" => {}
            other => match other.strip_prefix("attr.") {
                Some(kind) => {
                    let kind = Token::new(kind).map_err(|e| invalid(name, &e))?;
                    push(
                        name,
                        self.attributes.entry(kind.as_str().to_owned()).or_default(),
                        label(name, value)?,
                    )?;
                }
                None => return Err(unknown(other)),
            },
        }
        Ok(())
    }

    fn set_facets(&mut self, value: &str) -> Result<(), SearchError> {
        for facet in value.split(',').map(str::trim).filter(|facet| !facet.is_empty()) {
            self.facets = match (facet, std::mem::take(&mut self.facets)) {
                ("all", _) => FacetSelection::All,
                ("none", _) => FacetSelection::None,
                (_, FacetSelection::All) => FacetSelection::All,
                (name, FacetSelection::These(mut these)) => {
                    these.insert(facet_named(name)?);
                    FacetSelection::These(these)
                }
                (name, FacetSelection::Storefront | FacetSelection::None) => {
                    FacetSelection::These(BTreeSet::from([facet_named(name)?]))
                }
            };
        }
        Ok(())
    }

    /// Checks what a request built in code might break.
    pub(super) fn check(&self) -> Result<(), SearchError> {
        if self.attributes.len() > MAX_ATTRIBUTE_TYPES {
            return Err(SearchError::Invalid(format!(
                "attr.TYPE filters by at most {MAX_ATTRIBUTE_TYPES} attribute types at once"
            )));
        }
        if self.q.as_ref().is_some_and(|q| q.chars().count() > MAX_QUERY_CHARS) {
            return Err(SearchError::Invalid(format!("q has at most {MAX_QUERY_CHARS} characters")));
        }
        if let (Some(min), Some(max)) = (self.price_min, self.price_max)
            && min > max
        {
            return Err(SearchError::Invalid(format!("price_min is at most price_max, got {min} and {max}")));
        }
        Ok(())
    }

    /// The order that the hits come in.
    #[must_use]
    pub fn effective_sort(&self) -> Sort {
        match self.sort {
            None | Some(Sort::Relevance) if self.q.is_none() => Sort::Popularity,
            None => Sort::Relevance,
            Some(sort) => sort,
        }
    }

    /// The lifecycle states that are found.
    #[must_use]
    pub fn effective_lifecycle(&self) -> Vec<Lifecycle> {
        if self.lifecycle.is_empty() {
            return Lifecycle::ALL.into_iter().filter(|state| state.is_sellable()).collect();
        }
        self.lifecycle.clone()
    }
}

fn invalid(name: &str, reason: &dyn std::fmt::Display) -> SearchError {
    SearchError::Invalid(format!("{}: {reason}", shown(name)))
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

fn unknown(name: &str) -> SearchError {
    SearchError::Invalid(format!(
        "unknown parameter {:?}: a search takes q, category, brand, attr.<type>, price_min, price_max, currency, in_stock, \
         lifecycle, channel, region, collection, sort, facets, facet_limit, limit, cursor",
        shown(name)
    ))
}

fn once<T>(name: &str, slot: &mut Option<T>, value: T) -> Result<(), SearchError> {
    if slot.replace(value).is_some() {
        return Err(SearchError::Invalid(format!("{name} is given once")));
    }
    Ok(())
}

fn push<T: PartialEq>(name: &str, values: &mut Vec<T>, value: T) -> Result<(), SearchError> {
    if !values.contains(&value) {
        values.push(value);
    }
    if values.len() > MAX_VALUES {
        return Err(SearchError::Invalid(format!("{} has at most {MAX_VALUES} values", shown(name))));
    }
    Ok(())
}

fn label(name: &str, value: &str) -> Result<String, SearchError> {
    Label::new(value).map(|label| label.as_str().to_owned()).map_err(|e| invalid(name, &e))
}

fn price(name: &str, value: &str) -> Result<Decimal, SearchError> {
    let amount = parse_decimal(value).map_err(|e| invalid(name, &e))?;
    if amount.is_sign_negative() && !amount.is_zero() {
        return Err(SearchError::Invalid(format!("{name} is not below zero")));
    }
    Ok(amount)
}

fn named<T: Copy>(name: &str, value: &str, names: &[(&str, T)]) -> Result<T, SearchError> {
    names.iter().find(|(known, _)| *known == value).map(|&(_, meaning)| meaning).ok_or_else(|| {
        let known: Vec<&str> = names.iter().map(|(known, _)| *known).collect();
        SearchError::Invalid(format!("{name} is one of {}, got {:?}", known.join(", "), shown(value)))
    })
}

fn lifecycle(value: &str) -> Result<Lifecycle, SearchError> {
    let findable = || Lifecycle::ALL.into_iter().filter(|state| *state != Lifecycle::Archived);
    findable().find(|state| state.as_str() == value).ok_or_else(|| {
        let known: Vec<&str> = findable().map(Lifecycle::as_str).collect();
        SearchError::Invalid(format!(
            "lifecycle is one of {} (archived variants are not in search), got {:?}",
            known.join(", "),
            shown(value)
        ))
    })
}

/// Who asks for more than `most` gets that.
fn count(name: &str, value: &str, most: usize) -> Result<usize, SearchError> {
    let count = value.parse::<u128>().ok().filter(|n| *n > 0);
    count.map(|n| usize::try_from(n).unwrap_or(most).min(most)).ok_or_else(|| {
        SearchError::Invalid(format!("{name} is a number from 1 to {most}, got {:?}", shown(value)))
    })
}

fn facet_named(name: &str) -> Result<Facet, SearchError> {
    Ok(match name {
        "category" => Facet::Category,
        "brand" => Facet::Brand,
        "attributes" | "attr" => Facet::Attributes,
        "price" => Facet::Price,
        "in_stock" => Facet::InStock,
        "lifecycle" => Facet::Lifecycle,
        "channel" => Facet::Channel,
        "region" => Facet::Region,
        other => match other.strip_prefix("attr.").map(Token::new) {
            Some(Ok(kind)) => Facet::Attribute(kind.as_str().to_owned()),
            _ => {
                return Err(SearchError::Invalid(format!(
                    "facets are all, none, or some of category, brand, attributes, attr.<type>, price, in_stock, lifecycle, \
                     channel, region, got {:?}",
                    shown(other)
                )));
            }
        },
    })
}
