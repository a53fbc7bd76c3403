//! Why stock refuses a command.

use daybook_schemas::{CustomerId, LocationId, ReservationId};

use super::{MAX_ACTIVE_HOLDS, MAX_LOCATIONS, MAX_TTL_SECONDS, MAX_UNITS};
use crate::{Kind, Reject};

/// Why stock refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("asked for {asked}, available are {available}{}", at(.location.as_ref()))]
    InsufficientStock { asked: i64, available: i64, location: Option<LocationId> },
    #[error("expected {expected} on hand, the books say {on_hand}: count again")]
    CountMismatch { expected: i64, on_hand: i64 },
    #[error("reservation {0} stands for other goods or another customer, or is used up: choose another id")]
    ReservationConflict(ReservationId),
    #[error("customer {customer} already holds this variant{}: confirm or release that first", by(.reservation.as_ref()))]
    AlreadyReserved {
        customer: CustomerId,
        /// Told to the shop alone: whoever knows it can release it.
        reservation: Option<ReservationId>,
    },
    #[error("a customer has at most {MAX_ACTIVE_HOLDS} active reservations: confirm or release one first")]
    TooManyReservations,
    #[error("reservation {0} has run out: reserve again")]
    ReservationExpired(ReservationId),
    #[error("reservation {0} was released: reserve again")]
    ReservationReleased(ReservationId),
    #[error("reservation {0} was confirmed: what is sold comes back by a return")]
    ReservationConfirmed(ReservationId),
    #[error("there is no reservation {0}")]
    NotFound(ReservationId),
    #[error("reservation {reservation} holds {held}, asked for {asked}")]
    HoldsLess { reservation: ReservationId, held: u32, asked: u32 },
    #[error("an adjustment changes on hand by {MAX_UNITS} units at most, and not by zero")]
    DeltaOutOfBounds,
    #[error("a count is 0 to {MAX_UNITS}")]
    CountOutOfBounds,
    #[error("a reservation lasts 1 to {MAX_TTL_SECONDS} seconds")]
    TtlOutOfBounds,
    #[error("a reservation is for a customer, an order, or both")]
    NobodyToHoldFor,
    #[error("goods are transferred between two different locations")]
    SameLocation,
    #[error("a location has at most {MAX_UNITS} units")]
    TooManyUnits,
    #[error("a variant has at most {MAX_LOCATIONS} locations")]
    TooManyLocations,
}

fn at(location: Option<&LocationId>) -> String {
    location.map(|location| format!(" at location {location}")).unwrap_or_default()
}

fn by(reservation: Option<&ReservationId>) -> String {
    reservation.map(|reservation| format!(" with reservation {reservation}")).unwrap_or_default()
}

impl Reject for Rejection {
    fn code(&self) -> &'static str {
        match self {
            Self::InsufficientStock { .. } => "insufficient_stock",
            Self::CountMismatch { .. } => "count_mismatch",
            Self::ReservationConflict(_) => "reservation_conflict",
            Self::AlreadyReserved { .. } => "already_reserved",
            Self::TooManyReservations => "too_many_reservations",
            Self::ReservationExpired(_) => "reservation_expired",
            Self::ReservationReleased(_) => "reservation_released",
            Self::ReservationConfirmed(_) => "reservation_confirmed",
            Self::NotFound(_) => "not_found",
            Self::DeltaOutOfBounds
            | Self::CountOutOfBounds
            | Self::TtlOutOfBounds
            | Self::NobodyToHoldFor
            | Self::SameLocation => "invalid_request",
            Self::HoldsLess { .. } | Self::TooManyUnits | Self::TooManyLocations => "unprocessable",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::InsufficientStock { .. }
            | Self::CountMismatch { .. }
            | Self::ReservationConflict(_)
            | Self::AlreadyReserved { .. }
            | Self::TooManyReservations
            | Self::ReservationExpired(_)
            | Self::ReservationReleased(_)
            | Self::ReservationConfirmed(_) => Kind::Conflict,
            Self::NotFound(_) => Kind::NotFound,
            Self::DeltaOutOfBounds
            | Self::CountOutOfBounds
            | Self::TtlOutOfBounds
            | Self::NobodyToHoldFor
            | Self::SameLocation => Kind::Invalid,
            Self::HoldsLess { .. } | Self::TooManyUnits | Self::TooManyLocations => Kind::Unprocessable,
        }
    }
}
