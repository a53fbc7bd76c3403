//! Values that changed and whose variants are being told, one value after the other.

use std::collections::BTreeMap;

use daybook_eventlog::Position;
use daybook_schemas::variant::MasterKind;
use daybook_schemas::{ValueId, VariantId};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

/// A value that changed, and how far its variants know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) kind: MasterKind,
    pub(super) value_id: ValueId,
    /// The position of the change.
    pub(super) position: Position,
    /// The last variant that knows.
    pub(super) after: Option<VariantId>,
}

/// Each value at most once, in the order of turns.
#[derive(Debug, Default)]
pub(super) struct Queue {
    turns: BTreeMap<u64, Pending>,
    turn_of: HashMap<(MasterKind, ValueId), u64>,
    last: u64,
}

impl Queue {
    /// Behind all others. Another change of a value that is under way begins anew: its variants have to know that one too.
    pub(super) fn put(&mut self, pending: Pending) {
        self.last += 1;
        if let Some(before) = self.turn_of.insert((pending.kind, pending.value_id.clone()), self.last) {
            self.turns.remove(&before);
        }
        self.turns.insert(self.last, pending);
    }

    pub(super) fn first(&self) -> Option<&Pending> {
        self.turns.first_key_value().map(|(_, pending)| pending)
    }

    /// The variants of the first value know up to this one.
    pub(super) fn advance(&mut self, to: VariantId) {
        if let Some(mut first) = self.turns.first_entry() {
            first.get_mut().after = Some(to);
        }
    }

    /// All variants of the first value know.
    pub(super) fn finish(&mut self) {
        if let Some((_, pending)) = self.turns.pop_first() {
            self.turn_of.remove(&(pending.kind, pending.value_id));
        }
    }

    /// The first value's turn comes after all others.
    pub(super) fn rotate(&mut self) {
        if let Some((_, pending)) = self.turns.pop_first() {
            self.put(pending);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// In the order of turns.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.turns.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(id: &str, position: Position) -> Pending {
        let value_id = ValueId::new(id).unwrap();
        Pending { kind: MasterKind::Color, value_id, position, after: None }
    }

    fn order(queue: &Queue) -> Vec<(&str, Position)> {
        queue.iter().map(|pending| (pending.value_id.as_str(), pending.position)).collect()
    }

    #[test]
    fn a_value_stands_once_and_begins_anew_with_another_change() {
        let mut queue = Queue::default();
        queue.put(pending("a", 1));
        queue.put(pending("b", 2));
        queue.advance(VariantId::new("v").unwrap());
        assert!(queue.first().unwrap().after.is_some());
        queue.put(pending("a", 3));
        assert_eq!(order(&queue), [("b", 2), ("a", 3)]);
        assert!(queue.iter().all(|pending| pending.after.is_none()));
        queue.rotate();
        assert_eq!(order(&queue), [("a", 3), ("b", 2)]);
        queue.finish();
        queue.put(pending("a", 4));
        assert_eq!(order(&queue), [("b", 2), ("a", 4)]);
        queue.finish();
        queue.finish();
        assert!(queue.is_empty() && queue.turn_of.is_empty());
    }
}
