//! Prices in the catalogue: what a variant's own price and each of its lists were, are and will be.
//!
//! A variant's own prices stand in its row, those of a list in a row of the list's own, both with the latest 50. What is older
//! goes to a table of the past, so that rows stay small and every time can be asked for.

use daybook_schemas::prices::{Changed, PriceList, PricePoint, Prices, Schedule};
use daybook_schemas::{Label, ScheduleId, Text, Timestamp, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amounts::{PriceView, micros};
use crate::rows::{Column, IndexValue, KeyKind, TableSpec, View};

/// Price changes that a view remembers beside the price that stands; older ones are in a table of their own.
pub const MAX_PRICE_HISTORY: usize = 50;

pub(super) static LIST_PRICES: TableSpec = TableSpec {
    name: "list_prices",
    key: KeyKind::Text,
    columns: &[Column::text("priced_group"), Column::text("list"), Column::integer("price_micros")],
    indexes: &[&["priced_group", "list", "price_micros"]],
    dictionary: None,
};

pub(super) static PAST_PRICES: TableSpec = TableSpec {
    name: "past_prices",
    key: KeyKind::Text,
    columns: &[Column::text("course"), Column::integer("from_micros")],
    indexes: &[&["course", "from_micros"]],
    dictionary: None,
};

/// A price that stood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PriceRecord {
    /// Absent: the list ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceView>,
    pub effective_from: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_to: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_id: Option<ScheduleId>,
}

/// A price that is to take effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleView {
    pub schedule_id: ScheduleId,
    /// Absent: the list ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceView>,
    pub effective_from: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_to: Option<Timestamp>,
    pub reason: Text,
    /// Whether it is what stood before a temporary price, coming back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restores: bool,
}

/// The prices of a variant on one list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListView {
    pub variant_id: VariantId,
    pub product_group: Label,
    pub list: PriceList,
    /// Absent: the list has not begun, or has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceView>,
    /// Oldest first, the current price last; the latest 50.
    pub price_history: Vec<PriceRecord>,
    /// Prices that are to take effect, by time.
    pub schedules: Vec<ScheduleView>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
}

impl View for ListView {
    const TABLE: &'static TableSpec = &LIST_PRICES;

    fn index(&self) -> Vec<IndexValue> {
        let priced = self.price.filter(|_| !self.archived);
        vec![
            priced.map(|_| self.product_group.as_str()).into(),
            list_key(&self.list).as_str().into(),
            priced.map(|price| micros(price.amount)).into(),
        ]
    }
}

/// A price that stood too long ago for the row of its course.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PastPrice {
    pub(super) course: String,
    #[serde(flatten)]
    pub(super) record: PriceRecord,
}

impl View for PastPrice {
    const TABLE: &'static TableSpec = &PAST_PRICES;

    fn index(&self) -> Vec<IndexValue> {
        vec![self.course.as_str().into(), self.record.effective_from.as_micros().into()]
    }
}

/// The list as text that sorts by currency.
pub(super) fn list_key(list: &PriceList) -> String {
    let part = |part: &Option<daybook_schemas::Token>| {
        part.as_ref().map_or_else(String::new, |part| part.as_str().to_owned())
    };
    format!("{}/{}/{}", list.currency, part(&list.channel), part(&list.customer_group))
}

/// What names the course of a variant's own price, or of a list; the key of a list's row.
pub(super) fn course_key(variant_id: &str, list: Option<&PriceList>) -> String {
    format!("{variant_id}/{}", list.map(list_key).unwrap_or_default())
}

/// The prices of a row, wherever they stand.
pub(super) struct Course<'v> {
    pub(super) price: &'v mut Option<PriceView>,
    pub(super) history: &'v mut Vec<PriceRecord>,
    pub(super) schedules: &'v mut Vec<ScheduleView>,
}

impl Course<'_> {
    /// Another price stands. Gives the record that the row has no room for any more, if it ever held: one that began no earlier
    /// than a later one did not (clocks can go back).
    pub(super) fn change(&mut self, changed: Changed) -> Option<PriceRecord> {
        *self.price = changed.price.map(PriceView::from);
        if let Some(taken) = &changed.schedule_id {
            self.schedules.retain(|schedule| schedule.schedule_id != *taken);
        }
        let full = self.history.len() >= MAX_PRICE_HISTORY;
        let oldest = full.then(|| self.history.remove(0));
        self.history.push(PriceRecord {
            price: *self.price,
            effective_from: changed.effective_from,
            effective_to: changed.effective_to,
            reason: Some(changed.reason),
            schedule_id: changed.schedule_id,
        });
        oldest.filter(|old| self.history.iter().all(|later| later.effective_from > old.effective_from))
    }

    pub(super) fn schedule(&mut self, schedule: Schedule) {
        // As in `daybook_schemas::prices`: what follows a temporary price at once, at its end, is its return.
        let temporary_until = self.history.last().and_then(|standing| standing.effective_to);
        let restores = temporary_until == Some(schedule.effective_from)
            && schedule.effective_to.is_none()
            && !self
                .schedules
                .iter()
                .any(|other| other.restores && other.effective_from == schedule.effective_from);
        let at = self.schedules.partition_point(|other| other.effective_from <= schedule.effective_from);
        let view = ScheduleView {
            schedule_id: schedule.schedule_id,
            price: schedule.price.map(PriceView::from),
            effective_from: schedule.effective_from,
            effective_to: schedule.effective_to,
            reason: schedule.reason,
            restores,
        };
        self.schedules.insert(at, view);
    }

    pub(super) fn cancel(&mut self, id: &ScheduleId) {
        let Some(at) = self.schedules.iter().position(|schedule| schedule.schedule_id == *id) else { return };
        // Without its return, what was temporary stays: for good, or until the price around it ends.
        let gone = self.schedules.remove(at);
        if let Some(standing) = self.history.last_mut()
            && gone.restores
            && standing.effective_to == Some(gone.effective_from)
        {
            let next = self.schedules.iter().find(|schedule| schedule.restores);
            standing.effective_to = next.map(|next| next.effective_from);
        }
    }
}

impl ListView {
    pub(super) fn new(variant_id: &VariantId, product_group: &Label, list: &PriceList) -> Self {
        Self {
            variant_id: variant_id.clone(),
            product_group: product_group.clone(),
            list: list.clone(),
            price: None,
            price_history: Vec::new(),
            schedules: Vec::new(),
            archived: false,
        }
    }

    pub(super) fn course(&mut self) -> Course<'_> {
        Course { price: &mut self.price, history: &mut self.price_history, schedules: &mut self.schedules }
    }

    /// What the row says, to be asked what holds when.
    #[must_use]
    pub fn prices(&self) -> Prices {
        Prices { may_end: true, ..prices(self.price, &self.price_history, &self.schedules) }
    }
}

/// What a row says, to be asked what holds when.
pub(super) fn prices(
    price: Option<PriceView>,
    history: &[PriceRecord],
    schedules: &[ScheduleView],
) -> Prices {
    let point = |record: &PriceRecord| PricePoint {
        price: record.price.map(|price| price.price()),
        effective_from: record.effective_from,
    };
    let schedule = |view: &ScheduleView| Schedule {
        schedule_id: view.schedule_id.clone(),
        price: view.price.map(|price| price.price()),
        effective_from: view.effective_from,
        effective_to: view.effective_to,
        reason: view.reason.clone(),
        restores: view.restores,
    };
    Prices {
        price: price.map(|price| price.price()),
        price_history: history.iter().map(point).collect(),
        schedules: schedules.iter().map(schedule).collect(),
        temporary_until: history.last().and_then(|standing| standing.effective_to),
        may_end: false,
    }
}
