//! One sellable configuration of a product (`variant-{id}`): attributes, price, lifecycle, channels and regions.
//!
//! It protects that a configuration never changes, that nothing is sold without a price or before it is approved, and
//! that what is locked stays as it is.
//!
//! Its lifecycle, from draft to archived, is the table [`LIFECYCLE`]; `docs/lifecycles.md` and `daybook lifecycle variant` draw it.
//!
//! Invariants, after every event:
//!
//! 1. SKU, product, configuration, its hash and signature never change.
//! 2. What customers see of an attribute value (display name, colour, rank) follows the master data; value and value id never do.
//!    A variant is sold only where category, brand and attributes allow it.
//! 3. Only what [`LIFECYCLE`] has happens. A step whose target is the present state is accepted and changes nothing.
//! 4. A variant is active only with a price; it is archived only with nothing in stock and nothing held.
//! 5. An archived variant never changes again.
//! 6. A crossed-out price is not below the price and in its currency; no price is below zero; a list's price is in its currency.
//! 7. Scheduled prices take effect in the order of their time, each once, however late that is noticed. A temporary price
//!    gives way to the price before it, which may be temporary itself; any change that lasts longer takes the place of that return. The
//!    same holds on every price list. What everybody pays in a currency stands in one place: the own price, or a list.
//! 8. What a lock covers is refused until the lock is lifted or runs out. Prices scheduled before the lock still take
//!    effect.

mod command;
mod create;
mod decide;
mod history;
mod lifecycle;
pub mod masters;
mod prices;
pub mod rebind;
mod rejection;
pub mod sku;
mod state;
#[cfg(test)]
mod tests;

pub use command::{
    Action, ApplyDuePrices, Archive, CancelPriceSchedule, ChangeDetails, ChangePrice, ChangeSegmentation,
    Create, EndPriceList, ListName, Lock, NewAttribute, NewPrice, NewValue, RefreshAttribute, SkuStrategy,
    Step, StockFacts, Unlock,
};
pub use create::{configuration, derived_id, objections, value_id};
pub use daybook_schemas::variant::Event;
pub use history::{History, MAX_PAST_PRICES, PastList, PastLock, PastPrice, WaitingPrice};
pub use lifecycle::{LIFECYCLE, StepName, TRANSITIONS};
pub use prices::ListPrices;
pub use rejection::Rejection;
pub use state::{Existing, Variant};

/// A command to a variant.
pub type Command = crate::Command<Action>;

/// Most attributes of a configuration.
pub const MAX_ATTRIBUTES: usize = 50;
/// Most channels, and most regions.
pub const MAX_SEGMENTS: usize = 200;
/// Most prices that wait for their time.
pub const MAX_SCHEDULES: usize = 1_000;
/// Most price lists, those that ended included.
pub const MAX_PRICE_LISTS: usize = 200;
