//! The layer graph: which layers there are, what they stand on, and the transactions that make and remove them.
//!
//! `graph.rs` has the questions about rows, `container.rs` the writable layers, `chain.rs` makes an image's layers
//! out of archives, `gather.rs` several at a time, `given.rs` those for containers with users of their own, `record.rs` keeps what their exact archives need beside their files, `sweep.rs` removes, `check.rs`
//! compares, `migrate.rs` copies to another driver. A row
//! comes before its data and goes after it; a row that is not valid belongs to whoever holds its lock.

mod chain;
mod check;
mod container;
mod gather;
mod given;
mod graph;
mod migrate;
mod mount_points;
mod record;
mod sweep;
mod write;

pub(crate) use chain::Chain;
pub use check::{Checked, Damaged};
pub use container::{ContainerLayer, Visit};
pub use gather::{Gathering, Stop, Supplier, Take};
pub(crate) use graph::{Layer, chain, layer_id, release_unneeded};
pub use migrate::Moved;
