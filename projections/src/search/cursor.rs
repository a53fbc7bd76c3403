//! Where a page ended: the sort key and tie-break of its last hit, and which search it belongs to. Opaque to clients.

use super::request::{SearchError, SearchRequest};
use super::schema::tie;

/// A place in an ordered list of hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) search: u64,
    pub(super) key: u64,
    pub(super) tie: u64,
}

impl Cursor {
    pub(super) fn encode(self) -> String {
        let seal = self.seal();
        format!("{:016x}{:016x}{:016x}{seal:04x}", self.search, self.key, self.tie)
    }

    /// Reads a cursor and checks that it was made by the same search.
    pub(super) fn decode(text: &str, search: u64) -> Result<Self, SearchError> {
        let broken = || {
            SearchError::Invalid(
                "cursor is not one that a search gave: start again without cursor".to_owned(),
            )
        };
        if text.len() != 52 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(broken());
        }
        let number = |at: usize| u64::from_str_radix(&text[at..at + 16], 16).map_err(|_| broken());
        let cursor = Self { search: number(0)?, key: number(16)?, tie: number(32)? };
        if u64::from_str_radix(&text[48..], 16).map_err(|_| broken())? != cursor.seal() {
            return Err(broken());
        }
        if cursor.search != search {
            return Err(SearchError::Invalid(
                "cursor belongs to another search: repeat the same q, filters and sort, or start again without cursor"
                    .to_owned(),
            ));
        }
        Ok(cursor)
    }

    /// Catches a cursor that was cut or changed on its way.
    fn seal(self) -> u64 {
        tie(&format!("{:x} {:x} {:x}", self.search, self.key, self.tie)) & 0xffff
    }
}

/// What identifies a search: everything that decides which hits come in which order.
pub(super) fn fingerprint(request: &SearchRequest) -> u64 {
    let sorted = |values: &[String]| {
        let mut values = values.to_vec();
        values.sort_unstable();
        values
    };
    let attributes: Vec<_> = request.attributes.iter().map(|(kind, values)| (kind, sorted(values))).collect();
    let mut lifecycle = request.effective_lifecycle();
    lifecycle.sort_unstable();
    tie(&format!(
        "{:?}",
        (
            &request.q,
            (sorted(&request.category), sorted(&request.brand), attributes),
            (
                request.price_min.map(|p| p.normalize()),
                request.price_max.map(|p| p.normalize()),
                request.currency
            ),
            (request.in_stock, lifecycle, &request.channel, &request.region),
            request.effective_sort(),
        )
    ))
}
