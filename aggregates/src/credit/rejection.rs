//! Why a credit refuses a command.

use crate::{Kind, Reject};

/// Why a credit refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("a credit with this id was booked already, with other content")]
    Duplicate,
    #[error("what is given back is zero or more")]
    NegativeAmount,
    #[error("an adjustment of zero changes nothing")]
    ZeroAdjustment,
}

impl Reject for Rejection {
    fn code(&self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate_credit",
            Self::NegativeAmount | Self::ZeroAdjustment => "unprocessable",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Duplicate => Kind::Conflict,
            Self::NegativeAmount | Self::ZeroAdjustment => Kind::Unprocessable,
        }
    }
}
