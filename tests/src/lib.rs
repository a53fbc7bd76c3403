//! What spans the whole workspace: the rule of who may import whom, checked in `tests/architecture.rs`.
//!
//! The end-to-end tests lie in `tests/e2e/` and are built with the gateway, because they need its binary; the
//! independent check of the analytics is `tests/independent/online_retail.py`; `tests/run` runs everything.
