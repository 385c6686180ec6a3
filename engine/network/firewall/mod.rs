//! Packet paths: how the kernel is told to let containers out, keep networks apart and lead published ports to them.
//!
//! One trait, one file or folder a path: nf_tables by netlink, iptables through `iptables-restore` (legacy or nft), and
//! none, where the monitors' relays do what can be done. A path has tables or chains of its own, named after the state
//! root that they belong to ([`Owner`]), and touches nothing else.

mod conntrack;
mod iptables;
mod nft;
mod none;
pub(crate) mod redirect;
pub mod registry;
mod sys;
pub mod watch;

use ipnet::IpNet;

pub use registry::{Abilities, Selection, by_name, names, select};
pub use watch::Watch;

use crate::Result;
use crate::plan::Published;

/// Whose rules they are: several state roots (and engines) may share a host. Part of the names of tables and chains:
/// `berth` for the usual root, `berth-` and eight hexadecimal digits of the root's path for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner(pub String);

/// What one bridge network needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRules {
    /// The interface's name; it need not exist yet.
    pub bridge: String,
    pub subnets: Vec<IpNet>,
    /// What leaves through another interface gets that one's address.
    pub masquerade: bool,
    /// Nothing is forwarded in or out.
    pub internal: bool,
    /// Whether containers of this network reach each other (`com.docker.network.bridge.enable_icc`).
    pub among_themselves: bool,
    /// Whether what comes from outside reaches containers' ports that are not published (gateway mode `routed`).
    pub routed: bool,
}

/// One published port as a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRule {
    pub port: Published,
    /// The bridge behind which the container is.
    pub bridge: String,
}

/// Everything that a state root wants of a packet path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub networks: Vec<NetworkRules>,
    pub ports: Vec<PortRule>,
}

/// A packet path. Synchronous; any number of processes may use one at the same time: additions and removals of single
/// networks and ports do not disturb each other.
pub trait PacketPath: Send + Sync {
    fn name(&self) -> &'static str;

    /// Adds a network's rules, and what all have in common if it is not there. Idempotent, atomic.
    fn add_network(&self, owner: &Owner, network: &NetworkRules) -> Result<()>;

    /// Idempotent.
    fn remove_network(&self, owner: &Owner, network: &NetworkRules) -> Result<()>;

    /// Leads ports to their containers. Idempotent, atomic: all or none. Needs the network's rules.
    fn publish(&self, owner: &Owner, ports: &[PortRule]) -> Result<()>;

    /// Idempotent: what is not there is not missed. Connections that were made end or go on with their container.
    fn unpublish(&self, owner: &Owner, ports: &[PortRule]) -> Result<()>;

    /// Whether everything wanted is in force, cheaply enough for every command (well under a millisecond; no process).
    fn is_intact(&self, owner: &Owner, wanted: &Wanted) -> Result<bool>;

    /// Makes it so that exactly what is wanted is in force, in one step.
    fn restore(&self, owner: &Owner, wanted: &Wanted) -> Result<()>;

    /// Removes everything of this owner. Idempotent.
    fn remove(&self, owner: &Owner) -> Result<()>;

    /// What of this owner is in the kernel, one line each, for `berth system check`; empty if nothing is.
    fn found(&self, owner: &Owner) -> Result<Vec<String>>;
}
