//! Typed rows in memory: loaded once, folded many times, written once a commit.
//!
//! A table's rows live in two maps, `young` and `old`. What is touched is in `young`; when that has grown to half of the
//! budget, `old` is dropped and `young` takes its place. That keeps what is used, without a list to maintain for each access.
//! Rows with uncommitted changes are always in `young`, and the maps change places only after a commit.

use std::any::Any;

use daybook_eventlog::Position;
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use serde::Serialize;
use serde::de::DeserializeOwned;
use smol_str::SmolStr;

use super::decode_view;
use super::known::Known;
use super::spec::{IndexValue, KeyKind, TableSpec, position_key};
use super::store::{RowChange, RowStore, RowWrite};
use crate::model::{ProjectError, StoreError};

/// A row's content: a struct with a fixed order of fields, whose JSON is the document.
pub trait View: Serialize + DeserializeOwned + Send + 'static {
    /// Where such rows live.
    const TABLE: &'static TableSpec;

    /// The values of the table's columns, in their order.
    fn index(&self) -> Vec<IndexValue> {
        Vec::new()
    }
}

/// What a row is assumed to weigh in memory before its document is known.
pub(super) const NEW_ROW_BYTES: usize = 512;
/// Key, map entry and allocations beside the document.
const ROW_OVERHEAD_BYTES: usize = 160;

/// Rows brought into the form in which they are written between two looks at the time.
const BREATHE_EVERY: usize = 16;

struct Slot<V> {
    value: Option<V>,
    dirty: bool,
    /// Digest of the index values as stored; `None` if the row is not stored.
    stored_index: Option<u64>,
    weight: usize,
}

/// The cached rows of one table.
struct TypedTable<V> {
    young: HashMap<SmolStr, Slot<V>, foldhash::fast::FixedState>,
    old: HashMap<SmolStr, Slot<V>, foldhash::fast::FixedState>,
    dirty: Vec<SmolStr>,
    /// Rows that were added for good since the last commit: nobody will ask for them, so they are in no map.
    appended: Vec<RowWrite>,
    young_bytes: usize,
    known: Known,
}

impl<V: View> TypedTable<V> {
    fn new() -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
            dirty: Vec::new(),
            appended: Vec::new(),
            young_bytes: 0,
            known: Known::Unasked,
        }
    }

    /// The row's slot in `young`, loaded if need be. `fresh`: the caller knows that no such row is stored.
    fn slot(
        &mut self,
        key: &str,
        fresh: bool,
        store: &mut dyn RowStore,
        pending: &mut usize,
    ) -> Result<&mut Slot<V>, StoreError> {
        match self.young.entry_ref(key) {
            EntryRef::Occupied(entry) => Ok(entry.into_mut()),
            EntryRef::Vacant(entry) => {
                let slot = match self.old.remove(key) {
                    Some(slot) => slot,
                    None if fresh => {
                        Slot { value: None, dirty: false, stored_index: None, weight: NEW_ROW_BYTES }
                    }
                    None => {
                        if matches!(self.known, Known::Unasked) {
                            self.known = Known::of_table(is_empty(V::TABLE, store)?);
                        }
                        let slot = if self.known.rules_out(key) { absent() } else { load::<V>(key, store)? };
                        *pending += slot.weight;
                        slot
                    }
                };
                self.young_bytes += slot.weight;
                Ok(entry.insert_with_key(SmolStr::new(key), slot))
            }
        }
    }

    fn slot_to_change(
        &mut self,
        key: &str,
        fresh: bool,
        store: &mut dyn RowStore,
        pending: &mut usize,
    ) -> Result<&mut Slot<V>, StoreError> {
        // Looked up twice only when it becomes dirty: the borrow of the slot must end before the key is noted.
        if !self.slot(key, fresh, store, pending)?.dirty {
            self.dirty.push(SmolStr::new(key));
        }
        let slot = self.young.get_mut(key).expect("put there a moment ago");
        if !slot.dirty {
            slot.dirty = true;
            *pending += slot.weight;
        }
        Ok(slot)
    }
}

fn load<V: View>(key: &str, store: &mut dyn RowStore) -> Result<Slot<V>, StoreError> {
    let Some(doc) = store.load(V::TABLE, key)? else { return Ok(absent()) };
    let view: V = decode_view(key, &doc)?;
    let stored_index = Some(index_digest(&view.index()));
    Ok(Slot { value: Some(view), dirty: false, stored_index, weight: weight(key, &doc) })
}

const fn absent<V>() -> Slot<V> {
    Slot { value: None, dirty: false, stored_index: None, weight: ROW_OVERHEAD_BYTES }
}

/// Whether the table certainly holds no row.
fn is_empty(table: &'static TableSpec, store: &mut dyn RowStore) -> Result<bool, StoreError> {
    match table.key {
        KeyKind::Text => Ok(store.keys(table, "", false, 1)?.is_empty()),
        // Such rows are only ever added.
        KeyKind::Position => Ok(false),
    }
}

fn weight(key: &str, doc: &[u8]) -> usize {
    ROW_OVERHEAD_BYTES + key.len() + doc.len() + doc.len() / 2
}

fn index_digest(index: &[IndexValue]) -> u64 {
    use std::hash::BuildHasher;
    foldhash::quality::FixedState::default().hash_one(index)
}

/// A table of any row type.
trait AnyTable: Send {
    fn as_any(&mut self) -> &mut dyn Any;
    /// The changed rows as they are to be written. Their documents tell what the rows weigh by now.
    fn collect(&mut self, writes: &mut Vec<RowWrite>);
    fn committed(&mut self, budget_bytes: usize);
    fn rollback(&mut self);
    fn clear(&mut self);
}

impl<V: View> AnyTable for TypedTable<V> {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn collect(&mut self, writes: &mut Vec<RowWrite>) {
        let from = writes.len();
        for (number, key) in self.dirty.iter().enumerate() {
            if number.is_multiple_of(BREATHE_EVERY) {
                daybook_eventlog::breathe();
            }
            let slot = self.young.get_mut(key.as_str()).expect("changed rows stay in young");
            let change = match (&slot.value, slot.stored_index) {
                (Some(view), stored) => {
                    self.known.note(key);
                    let doc = serde_json::to_vec(view).expect("views have string keys and plain values");
                    let weight = weight(key, &doc);
                    self.young_bytes = (self.young_bytes + weight)
                        .saturating_sub(std::mem::replace(&mut slot.weight, weight));
                    let index = view.index();
                    if stored == Some(index_digest(&index)) {
                        RowChange::Replace { doc }
                    } else {
                        RowChange::Upsert { doc, index }
                    }
                }
                // Also for rows believed absent: a new row's key was taken on trust.
                (None, _) => RowChange::Delete,
            };
            writes.push(RowWrite { table: V::TABLE, key: key.clone(), change });
        }
        // In the order of the table's tree: neighbours share a page. Appended rows mostly are.
        writes.append(&mut self.appended);
        writes[from..].sort_by(|a, b| a.key.cmp(&b.key));
    }

    fn committed(&mut self, budget_bytes: usize) {
        for key in self.dirty.drain(..) {
            let slot = self.young.get_mut(&key).expect("changed rows stay in young until they are committed");
            slot.dirty = false;
            slot.stored_index = slot.value.as_ref().map(|view| index_digest(&view.index()));
        }
        if self.young_bytes > budget_bytes / 2 {
            std::mem::swap(&mut self.old, &mut self.young);
            // Its room is kept: to grow anew after each turn would cost more than all lookups. What one long commit took goes.
            self.young.clear();
            self.young.shrink_to(2 * self.old.len());
            self.young_bytes = 0;
        }
    }

    fn rollback(&mut self) {
        self.appended.clear();
        for key in self.dirty.drain(..) {
            if let Some(slot) = self.young.remove(&key) {
                self.young_bytes = self.young_bytes.saturating_sub(slot.weight);
            }
        }
    }

    fn clear(&mut self) {
        *self = Self::new();
    }
}

/// The cached rows of all tables of a read model.
pub(super) struct Cache {
    tables: Vec<(&'static str, Box<dyn AnyTable>)>,
    budget_bytes: usize,
    pending_bytes: usize,
}

impl Cache {
    pub(super) const fn new(budget_bytes: usize) -> Self {
        Self { tables: Vec::new(), budget_bytes, pending_bytes: 0 }
    }

    pub(super) const fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// An event is about to be folded. What it carries beyond the guess for a new row counts as uncommitted, so that a
    /// run of large new rows does not grow past the bound unseen.
    pub(super) const fn expect_event(&mut self, data_bytes: usize) {
        self.pending_bytes += data_bytes.saturating_sub(NEW_ROW_BYTES);
    }

    pub(super) fn writes(&mut self) -> Vec<RowWrite> {
        let mut writes = Vec::new();
        for (_, table) in &mut self.tables {
            table.collect(&mut writes);
        }
        writes
    }

    pub(super) fn committed(&mut self) {
        let budget = self.budget_bytes / self.tables.len().max(1);
        self.tables.iter_mut().for_each(|(_, table)| table.committed(budget));
        self.pending_bytes = 0;
    }

    pub(super) fn rollback(&mut self) {
        self.tables.iter_mut().for_each(|(_, table)| table.rollback());
        self.pending_bytes = 0;
    }

    /// Forgets everything: the store was changed beside it.
    pub(super) fn clear(&mut self) {
        self.tables.iter_mut().for_each(|(_, table)| table.clear());
        self.pending_bytes = 0;
    }
}

/// The rows of a read model as its projector sees them: as committed, with the changes since.
pub struct Rows<'a> {
    pub(super) cache: &'a mut Cache,
    pub(super) store: &'a mut dyn RowStore,
}

impl Rows<'_> {
    fn table<V: View>(cache: &mut Cache) -> (&mut TypedTable<V>, &mut usize) {
        let name = V::TABLE.name;
        let place =
            match cache.tables.iter().position(|(known, _)| std::ptr::eq(*known, name) || *known == name) {
                Some(place) => place,
                None => {
                    cache.tables.push((name, Box::new(TypedTable::<V>::new())));
                    cache.tables.len() - 1
                }
            };
        let table = cache.tables[place].1.as_any().downcast_mut();
        (table.expect("one table holds one type of rows"), &mut cache.pending_bytes)
    }

    /// The row as it is now.
    pub fn get<V: View>(&mut self, key: &str) -> Result<Option<&V>, StoreError> {
        let (table, pending) = Self::table::<V>(self.cache);
        Ok(table.slot(key, false, self.store, pending)?.value.as_ref())
    }

    /// Replaces the row by what the fold makes of it; `None` is no row.
    pub fn fold<V: View>(
        &mut self,
        key: &str,
        fold: impl FnOnce(Option<V>) -> Result<Option<V>, ProjectError>,
    ) -> Result<(), ProjectError> {
        self.fold_stored(key, false, fold)
    }

    /// Like [`Rows::fold`], for a row that cannot be stored yet (the first event of its stream): it is not looked up.
    pub fn fold_first<V: View>(
        &mut self,
        key: &str,
        fold: impl FnOnce(Option<V>) -> Result<Option<V>, ProjectError>,
    ) -> Result<(), ProjectError> {
        self.fold_stored(key, true, fold)
    }

    fn fold_stored<V: View>(
        &mut self,
        key: &str,
        fresh: bool,
        fold: impl FnOnce(Option<V>) -> Result<Option<V>, ProjectError>,
    ) -> Result<(), ProjectError> {
        let (table, pending) = Self::table::<V>(self.cache);
        let slot = table.slot_to_change(key, fresh, self.store, pending)?;
        slot.value = fold(slot.value.take())?;
        Ok(())
    }

    /// Changes the row in place, starting from the default if there is none.
    pub fn update<V: View + Default>(
        &mut self,
        key: &str,
        change: impl FnOnce(&mut V) -> Result<(), ProjectError>,
    ) -> Result<(), ProjectError> {
        let (table, pending) = Self::table::<V>(self.cache);
        let slot = table.slot_to_change(key, false, self.store, pending)?;
        change(slot.value.get_or_insert_with(V::default))
    }

    /// Writes the row, or deletes it, whatever it was.
    pub fn put<V: View>(&mut self, key: &str, view: Option<V>) -> Result<(), StoreError> {
        let (table, pending) = Self::table::<V>(self.cache);
        table.slot_to_change(key, true, self.store, pending)?.value = view;
        Ok(())
    }

    /// Adds a row that is never looked at or changed by a fold, of a table whose rows come one a position.
    pub fn append<V: View>(&mut self, position: Position, view: &V) {
        let (table, pending) = Self::table::<V>(self.cache);
        let doc = serde_json::to_vec(view).expect("views have string keys and plain values");
        let key = position_key(position);
        *pending += weight(&key, &doc);
        let change = RowChange::Upsert { doc, index: view.index() };
        table.appended.push(RowWrite { table: V::TABLE, key, change });
    }

    /// The first (or last) key with this prefix, uncommitted changes included. Looks through all uncommitted rows of
    /// the table: for rare events.
    pub fn edge_key<V: View>(&mut self, prefix: &str, last: bool) -> Result<Option<String>, StoreError> {
        let (table, _) = Self::table::<V>(self.cache);
        let uncommitted = table
            .dirty
            .iter()
            .filter(|key| key.starts_with(prefix) && table.young[key.as_str()].value.is_some())
            .map(SmolStr::to_string);
        let best = if last { uncommitted.max() } else { uncommitted.min() };
        // Of the stored keys, at most as many as are changed in memory can be deleted there; mostly the first does.
        let mut stored = None;
        for limit in [8, table.dirty.len() + 1] {
            let keys = self.store.keys(V::TABLE, prefix, last, limit)?;
            let complete = keys.len() < limit;
            let stands = |key: &String| {
                table.young.get(key.as_str()).is_none_or(|slot| !slot.dirty || slot.value.is_some())
            };
            stored = keys.into_iter().find(stands);
            if stored.is_some() || complete {
                break;
            }
        }
        Ok(match (best, stored) {
            (Some(a), Some(b)) => Some(if (a > b) == last { a } else { b }),
            (a, b) => a.or(b),
        })
    }
}
