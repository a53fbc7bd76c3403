//! When one governance lock may take the place of another, of variants and of master data alike.

use daybook_schemas::{Label, Timestamp};

/// A lock that stands, or is asked for.
pub(crate) struct Held<'a, Scope> {
    pub(crate) scopes: &'a [Scope],
    /// `None`: until it is lifted.
    pub(crate) until: Option<Timestamp>,
    pub(crate) by: Option<&'a Label>,
}

impl<Scope: PartialEq> Held<'_, Scope> {
    /// Whether `other` can't take its place: it is in force, and somebody else's, or `other` would lift part of it, or end it earlier. A record has
    /// one lock, so who takes the place of another's would lift it together with the own one.
    pub(crate) fn stands_against(&self, other: &Self, now: Timestamp) -> bool {
        let in_force = self.until.is_none_or(|until| until > now);
        let as_long = other.until.is_none_or(|until| self.until.is_some_and(|own| own <= until));
        let covers = self.scopes.iter().all(|scope| other.scopes.contains(scope));
        in_force && (self.by != other.by || !covers || !as_long)
    }
}
