//! The packet paths in the order of preference, and the choice among them.

use berth_arch::Probe;

use super::iptables::{self, Iptables, Variant};
use super::{PacketPath, nft, none};
use crate::{Error, Result, namespace};

/// What a path gives on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Without it, IPv6 networks are refused and internal ones rely on having no IPv6 addresses.
    pub ipv6: bool,
}

struct Entry {
    name: &'static str,
    probe: fn() -> Probe<Abilities>,
    open: fn() -> Box<dyn PacketPath>,
}

impl Entry {
    fn probe(&self) -> Probe<Abilities> {
        if namespace::is_away() && self.name != none::NAME {
            let reason = "the networks of an engine without root have no way out that the kernel would lead";
            return Probe::unavailable(reason, "leave it to relay, or run berth as root");
        }
        (self.probe)()
    }
}

const REGISTRY: &[Entry] = &[
    Entry { name: nft::NAME, probe: nft::probe::probe, open: || Box::new(nft::Nft::default()) },
    Entry {
        name: iptables::NFT,
        probe: || iptables::probe(Variant::Nft),
        open: || Box::new(Iptables::new(Variant::Nft)),
    },
    Entry {
        name: iptables::LEGACY,
        probe: || iptables::probe(Variant::Legacy),
        open: || Box::new(Iptables::new(Variant::Legacy)),
    },
    Entry { name: none::NAME, probe: none::probe, open: || Box::new(none::Relay) },
];

/// The chosen path and why those before it were not.
pub struct Selection {
    pub path: Box<dyn PacketPath>,
    pub abilities: Abilities,
    pub refused: Vec<(&'static str, String)>,
}

/// Of all packet paths, in the order of preference.
pub fn names() -> Vec<&'static str> {
    REGISTRY.iter().map(|entry| entry.name).collect()
}

/// The path that was asked for, or else the first that works here. Tries each for real, which takes a few
/// milliseconds: an engine keeps the name and calls [`by_name`].
///
/// # Errors
/// `InvalidArgument` for a name that is none, `Unavailable` with the reason if the explicit one does not work here.
pub fn select(explicit: Option<&str>) -> Result<Selection> {
    if let Some(name) = explicit {
        let entry = entry(name).ok_or_else(|| {
            Error::InvalidArgument(format!("there is no packet path {name}, only {}", names().join(", ")))
        })?;
        return match entry.probe() {
            Probe::Available { detail } => {
                Ok(Selection { path: (entry.open)(), abilities: detail, refused: Vec::new() })
            }
            Probe::Unavailable { reason, .. } => {
                Err(Error::Unavailable(format!("use the packet path {name}: {reason}")))
            }
        };
    }
    let mut refused = Vec::new();
    for entry in REGISTRY {
        match entry.probe() {
            Probe::Available { detail } => return Ok(Selection { path: (entry.open)(), abilities: detail, refused }),
            Probe::Unavailable { reason, .. } => refused.push((entry.name, reason)),
        }
    }
    Err(Error::Unavailable("no packet path works here".into()))
}

/// The path of this name, untried.
pub fn by_name(name: &str) -> Option<Box<dyn PacketPath>> {
    entry(name).map(|entry| (entry.open)())
}

/// Every path with its probe's answer, for `berth info` and tests.
pub fn probe_all() -> Vec<(&'static str, Probe<Abilities>)> {
    REGISTRY.iter().map(|entry| (entry.name, entry.probe())).collect()
}

fn entry(name: &str) -> Option<&'static Entry> {
    REGISTRY.iter().find(|entry| entry.name == name)
}
