//! Networks of containers, as the kernel sees them: links and addresses by rtnetlink, packet filters, published ports
//! and names. What is asked for and who has which address is in the store, which this crate knows nothing of.
//!
//! `plan.rs` is what an engine hands to a monitor, `attach.rs` carries it out in a container's network namespace,
//! `firewall/` has the packet paths (nftables, iptables), `relay/` passes on what no packet filter does, `listeners.rs` finds what processes have opened, and
//! `masquerade/` what leaves where there is none; `resolver/` answers names. Synchronous, and depends on `arch` alone; those three are driven by their owner's poll loop.

pub mod announce;
pub mod attach;
pub mod bridge;
pub mod error;
pub mod firewall;
pub mod listeners;
pub mod masquerade;
pub mod names;
pub mod namespace;
pub mod netlink;
pub mod plan;
mod reactor;
pub mod relay;
pub mod resolver;
pub mod route;
pub mod sysctl;
pub mod veth;

pub use error::{Error, Result};
pub use plan::{Endpoint, Plan, Protocol, Published};
