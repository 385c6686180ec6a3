//! Containers, one file a verb.
//!
//! `record.rs` is the row and how names find it, `talk.rs` the way to the monitor, `inside.rs` looks into the root from
//! outside. A verb takes the container's lock where it changes what the container is, looks at the reconciled state,
//! and acts; what has to survive a crash half-way is a `creating` or `removing` row, which the next engine finishes
//! (`reconcile.rs`).

pub mod attach;
pub mod commit;
pub(crate) mod create;
mod exec;
pub(crate) mod inside;
mod inspect;
pub mod list;
mod platform;
mod reconcile;
pub mod record;
pub mod remove;
mod rename;
mod signal;
mod start;
mod stop;
pub(crate) mod talk;
mod update;
pub mod wait;

pub(crate) use create::random_id;
