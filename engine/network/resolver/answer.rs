//! Answers from the names of the container's networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{A, AAAA, ANY, Code, PTR, Query, Record};
use crate::names::Names;
use crate::plan;

/// What is known without asking anybody.
#[derive(Debug, Default)]
pub(super) struct Known {
    networks: Vec<(String, Names)>,
    links: Vec<(String, String)>,
}

impl Known {
    pub(super) fn new(plan: &plan::Resolver) -> Self {
        let lower = |name: &String| name.to_ascii_lowercase();
        Self {
            networks: plan.networks.iter().map(|(name, folder)| (lower(name), Names::new(folder))).collect(),
            links: plan.links.iter().map(|(alias, name)| (lower(alias), lower(name))).collect(),
        }
    }

    /// The code and the records; None if somebody else must know. A name that is known has no other data than
    /// addresses, and nobody outside is asked for any.
    pub(super) fn answer(&self, query: &Query<'_>) -> Option<(Code, Vec<Record>)> {
        let name = query.name.as_deref().filter(|_| query.is_internet())?;
        if query.kind == PTR
            && let Some(address) = reversed(name)
        {
            let name = self.networks.iter().find_map(|(network, names)| qualified(names.reverse(address)?, network))?;
            return Some((Code::NoError, vec![Record::Pointer(name)]));
        }
        let addresses = self.addresses(name);
        if addresses.is_empty() {
            return None;
        }
        if !query.has_known_version() {
            return Some((Code::BadVersion, Vec::new()));
        }
        let is_asked = |address: &IpAddr| match query.kind {
            A => address.is_ipv4(),
            AAAA => address.is_ipv6(),
            kind => kind == ANY,
        };
        Some((Code::NoError, addresses.into_iter().filter(is_asked).map(Record::Address).collect()))
    }

    /// The container's own links first, then each network: by the name, and then as `name.network`.
    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let name = self.links.iter().find(|(alias, _)| alias == name).map_or(name, |(_, name)| name.as_str());
        let plain = self.networks.iter().map(|(_, names)| names.lookup(name));
        let within = self
            .networks
            .iter()
            .filter_map(|(network, names)| Some(names.lookup(name.strip_suffix(network.as_str())?.strip_suffix('.')?)));
        plain.chain(within).find(|addresses| !addresses.is_empty()).unwrap_or_default()
    }
}

/// `name.network`, if DNS knows such names; else the name alone.
fn qualified(name: String, network: &str) -> Option<String> {
    let both = format!("{name}.{network}");
    crate::names::check(&both).or_else(|_| crate::names::check(&name)).ok()
}

/// The address that `4.3.2.1.in-addr.arpa` (RFC 1035, 3.5) or 32 digits under `ip6.arpa` (RFC 3596, 2.5) asks for.
pub(super) fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(name) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut labels = name.split('.');
        for octet in octets.iter_mut().rev() {
            *octet = labels.next()?.parse().ok()?;
        }
        return labels.next().is_none().then(|| Ipv4Addr::from(octets).into());
    }
    let mut labels = name.strip_suffix(".ip6.arpa")?.split('.');
    let mut bits = 0u128;
    for place in 0..32 {
        let label = labels.next().filter(|label| label.len() == 1)?;
        bits |= u128::from(u8::from_str_radix(label, 16).ok()?) << (4 * place);
    }
    labels.next().is_none().then(|| Ipv6Addr::from_bits(bits).into())
}
