//! What a network and a port are in the words of iptables, one rule a line, as `iptables-save` writes them.
//!
//! One jump leads from each built-in chain to one of ours, at its top: a policy or a reject of others at the end does not
//! count then. Our chain FWD first asks where a packet goes (`-o`, inserted at the top) and then where it comes from
//! (`-i`, appended), so that a network's way in is always judged by that network.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::firewall::{NetworkRules, Owner, PortRule};

/// A rule to have: in which table and chain, whether before all others, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) table: &'static str,
    pub(super) chain: String,
    pub(super) first: bool,
    pub(super) text: String,
}

/// A chain of its own that a network has, with all its rules in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) rules: Vec<Rule>,
    pub(super) chain: String,
    pub(super) contents: Vec<String>,
}

pub(super) const TABLES: [&str; 2] = ["filter", "nat"];

/// The chains that every owner has, by table.
const CHAINS: &[(&str, &str)] =
    &[("filter", "FWD"), ("filter", "SHUT"), ("filter", "OURS"), ("nat", "DNAT"), ("nat", "MASQ")];

/// The longest name of a chain that every version takes.
const LONGEST: usize = 28;

pub(super) fn prefix(owner: &Owner) -> String {
    let name = owner.0.strip_prefix("berth").unwrap_or(&owner.0).trim_start_matches('-');
    if name.is_empty() { "BERTH-".to_owned() } else { format!("BERTH-{name}-") }
}

pub(super) fn chain(owner: &Owner, kind: &str) -> String {
    format!("{}{kind}", prefix(owner))
}

/// The chain for what goes to a bridge; one whose name would be too long has a number in its place.
fn towards(owner: &Owner, bridge: &str) -> String {
    let name = format!("{}T-{bridge}", prefix(owner));
    if name.len() <= LONGEST {
        return name;
    }
    // FNV-1a.
    let hash = bridge.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{}T-{hash:08x}", prefix(owner))
}

pub(super) fn fixed_chains(owner: &Owner, table: &str) -> Vec<String> {
    CHAINS.iter().filter(|(of, _)| *of == table).map(|(_, kind)| chain(owner, kind)).collect()
}

/// Whether a chain is this owner's, and not that of another one whose name begins alike.
pub(super) fn is_ours(owner: &Owner, name: &str) -> bool {
    name.strip_prefix(&prefix(owner))
        .is_some_and(|kind| kind.starts_with("T-") || CHAINS.iter().any(|(_, known)| *known == kind))
}

/// The jumps from built-in chains.
pub(super) fn jumps(owner: &Owner, v6: bool) -> Vec<Rule> {
    let loopback = if v6 { "::1/128" } else { "127.0.0.0/8" };
    let jump = |table, from: &str, condition: &str, kind: &str| Rule {
        table,
        chain: from.to_owned(),
        first: true,
        text: format!("{condition}-j {}", chain(owner, kind)),
    };
    vec![
        jump("filter", "FORWARD", "", "FWD"),
        jump("nat", "PREROUTING", "-m addrtype --dst-type LOCAL ", "DNAT"),
        // Loopback addresses are served by a relay.
        jump("nat", "OUTPUT", &format!("! -d {loopback} -m addrtype --dst-type LOCAL "), "DNAT"),
        jump("nat", "POSTROUTING", "", "MASQ"),
    ]
}

/// None if the network has no part in the family; an internal one has in both.
pub(super) fn network(owner: &Owner, network: &NetworkRules, v6: bool) -> Option<Network> {
    let subnets: Vec<&IpNet> = network.subnets.iter().filter(|subnet| subnet.addr().is_ipv6() == v6).collect();
    if subnets.is_empty() && !network.internal {
        return None;
    }
    let bridge = &network.bridge;
    let own = towards(owner, bridge);
    let rule = |table, kind: &str, first, text: String| Rule { table, chain: chain(owner, kind), first, text };
    let leave = if network.internal { "DROP" } else { "ACCEPT" };
    let mut rules = vec![
        rule("filter", "FWD", true, format!("-o {bridge} -j {own}")),
        rule("filter", "FWD", false, format!("-i {bridge} -j {leave}")),
        rule("filter", "OURS", false, format!("-i {bridge} -j DROP")),
        // A container's way to its own network and back would be a bridge's, which filters of its own get in the way of
        // (br_netfilter); the relay takes what comes from containers, as far as it can.
        rule("nat", "DNAT", true, format!("-i {bridge} ! -p sctp -j RETURN")),
    ];
    let mut contents = Vec::new();
    if network.among_themselves {
        contents.push(format!("-i {bridge} -j ACCEPT"));
    }
    if network.internal {
        rules.push(rule("filter", "SHUT", false, format!("-i {bridge} -j DROP")));
        contents.push("-j DROP".to_owned());
    } else {
        contents.push("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT".to_owned());
        contents.push(format!("-j {}", chain(owner, "SHUT")));
        contents.push("-m conntrack --ctstate DNAT -j ACCEPT".to_owned());
        if network.routed {
            contents.push(format!("-j {}", chain(owner, "OURS")));
            contents.push("-j ACCEPT".to_owned());
        } else {
            contents.push("-j DROP".to_owned());
        }
        for subnet in subnets {
            let source = subnet.trunc();
            if network.masquerade {
                rules.push(rule("nat", "MASQ", false, format!("-s {source} ! -o {bridge} -j MASQUERADE")));
            }
            let hairpin = format!("-s {source} -o {bridge} -m conntrack --ctstate DNAT -j MASQUERADE");
            rules.push(rule("nat", "MASQ", false, hairpin));
        }
    }
    Some(Network { rules, chain: own, contents })
}

/// None for what is not done here: loopback addresses, and ports that lead to the other family.
pub(super) fn port(owner: &Owner, rule: &PortRule) -> Option<(bool, Rule)> {
    let port = &rule.port;
    let v6 = port.host_address.is_ipv6();
    if port.host_address.is_loopback() || port.container_address.is_ipv6() != v6 {
        return None;
    }
    let everywhere = port.host_address.is_unspecified();
    let mut text = String::new();
    if !everywhere {
        let _ = write!(text, "-d {}/{} ", port.host_address, if v6 { 128 } else { 32 });
    }
    let protocol = port.protocol.name();
    let target = match port.container_address {
        IpAddr::V4(address) => format!("{address}:{}", port.container_port),
        IpAddr::V6(address) => format!("[{address}]:{}", port.container_port),
    };
    let _ = write!(text, "-p {protocol} -m {protocol} --dport {} -j DNAT --to-destination {target}", port.host_port);
    // One address's port is more than every address's.
    Some((v6, Rule { table: "nat", chain: chain(owner, "DNAT"), first: !everywhere, text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_chains_are_never_too_long_and_never_another_owners() {
        let (usual, other) = (Owner("berth".into()), Owner("berth-1a2b3c4d".into()));
        for owner in [&usual, &other] {
            let name = towards(owner, "br-0123456789ab");
            assert!(name.len() <= LONGEST, "{name}");
            assert!(is_ours(owner, &name));
            assert!(is_ours(owner, &chain(owner, "FWD")));
        }
        assert!(!is_ours(&usual, &chain(&other, "FWD")));
        assert!(!is_ours(&usual, &towards(&other, "b0")));
        assert!(!is_ours(&usual, "DOCKER"));
    }
}
