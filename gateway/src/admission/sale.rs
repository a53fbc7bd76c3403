//! Which requests count as sale requests, for which customer and which variants.

use std::borrow::Cow;
use std::collections::HashSet;

use daybook_schemas::body;
use serde::Deserialize;

/// What a sale request asks for, as far as the limits care. The rest of the body is the dispatcher's to judge.
pub(super) enum Sale<'a> {
    Reserve { variant: &'a str, customer: Option<Text<'a>> },
    Place { variants: Vec<Text<'a>>, customer: Option<Text<'a>> },
}

/// Borrowed from the body unless it has escapes, also inside an `Option`.
#[derive(Deserialize, PartialEq, Eq, Hash)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct ReserveBody<'a> {
    #[serde(borrow, default)]
    customer_id: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct PlaceBody<'a> {
    #[serde(borrow, default)]
    customer_id: Option<Text<'a>>,
    #[serde(borrow)]
    lines: Vec<LineBody<'a>>,
}

#[derive(Deserialize)]
struct LineBody<'a> {
    #[serde(borrow)]
    variant_id: Text<'a>,
}

impl<'a> Sale<'a> {
    /// `None` for every other command. An error is a sale request that can't be counted, because it has not even the form that
    /// is looked at here: it must not be carried out, whatever the dispatcher would read in it.
    pub(super) fn of(
        aggregate: &str,
        id: &'a str,
        command: &str,
        body: &'a [u8],
    ) -> Result<Option<Self>, serde_json::Error> {
        let body = body::or_empty(body);
        Ok(match (aggregate, command) {
            ("inventory", "reserve") => {
                let body: ReserveBody<'_> = body::from_slice(body)?;
                Some(Self::Reserve { variant: id, customer: body.customer_id })
            }
            ("order", "place") => {
                let body: PlaceBody<'_> = body::from_slice(body)?;
                let variants: HashSet<_> = body.lines.into_iter().map(|line| line.variant_id).collect();
                Some(Self::Place { variants: variants.into_iter().collect(), customer: body.customer_id })
            }
            _ => None,
        })
    }

    /// Absent for a guest.
    pub(super) fn customer(&self) -> Option<&str> {
        match self {
            Self::Reserve { customer, .. } | Self::Place { customer, .. } => {
                customer.as_ref().map(|customer| &*customer.0)
            }
        }
    }

    /// Each once.
    pub(super) fn variants(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::Reserve { variant, .. } => (Some(*variant), &[][..]),
            Self::Place { variants, .. } => (None, &variants[..]),
        };
        one.into_iter().chain(many.iter().map(|variant| &*variant.0))
    }
}
