//! Networks: what is configured is in the store, what the kernel has is made from it by `berth-network`.
//!
//! `record.rs` is the row, `create.rs` and its neighbours have one verb each. `endpoints.rs` says which networks a
//! container is in, `lease.rs` and `ports.rs` who has which address and public port; `up.rs` brings networks into the
//! kernel, `order.rs` keeps it in order, `shared.rs` has the ports of those that are in the host's network, `plan.rs` puts together what a container's monitor has to do at a start.

pub(crate) mod connect;
mod create;
mod describe;
pub(crate) mod endpoints;
mod lease;
pub(crate) mod links;
mod order;
pub(crate) mod plan;
pub(crate) mod ports;
pub(crate) mod record;
mod remove;
mod shared;
mod subnets;
mod up;

pub(crate) use plan::Prepared;
pub(crate) use up::RELAY;

/// In the order of Docker's `info`.
pub(crate) const DRIVERS: [&str; 5] = ["bridge", "host", "ipvlan", "macvlan", "null"];
