//! One thread a projection.
