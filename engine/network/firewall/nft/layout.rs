//! What an owner's table looks like: sets, chains, and which elements a network and a port are.
//!
//! The rules are always the same few. Networks and ports are elements of sets and maps, found by hashing, so that the
//! two-hundredth costs as much as the first, both to add and to every packet. Only masquerading takes a chain a network
//! (two rules, reached through an interval map), because it must know the network's own bridge.
//!
//! The priorities are those of iptables, so that others' hooks are before or after as they expect: NAT of destinations
//! at -100, before routing decides; filter at 0, which sees packets with their new destination; NAT of sources at 100,
//! after everything else. NAT only happens once per connection: whoever translates first wins, and a published port
//! that Docker has, too, is not one that berth could have bound.

use std::net::IpAddr;

use ipnet::IpNet;

use super::expressions::{Interface, Part, Rule, Verdict, interface_name};
use super::wire::{self, Ip};
use crate::firewall::{NetworkRules, PortRule};
use crate::plan::Published;

/// A set of the table, or a map if `data` is given. Types are those that `nft` prints by; the kernel takes lengths.
pub(super) struct Set {
    pub(super) name: &'static str,
    key: &'static [Type],
    data: Option<&'static [Type]>,
    pub(super) flags: u32,
}

#[derive(Clone, Copy)]
enum Type {
    Address,
    Protocol,
    Port,
    Interface,
    Verdict,
}

impl Type {
    /// The number in nft's datatype.h, and the bytes in a set (multiples of four).
    fn of(self, ip: Ip) -> (u32, u32) {
        match (self, ip) {
            (Self::Address, Ip::V4) => (7, 4),
            (Self::Address, Ip::V6) => (8, 16),
            (Self::Protocol, _) => (12, 4),
            (Self::Port, _) => (13, 4),
            (Self::Interface, _) => (41, 16),
            (Self::Verdict, _) => (wire::VERDICTS, 0),
        }
    }
}

/// Six bits a type, and the bytes. A single one has its real length.
fn measure(types: &[Type], ip: Ip) -> (u32, u32) {
    types
        .iter()
        .map(|kind| kind.of(ip))
        .fold((0, 0), |(number, length), (next, more)| (number << 6 | next, length + more))
}

impl Set {
    pub(super) fn key(&self, ip: Ip) -> (u32, u32) {
        measure(self.key, ip)
    }

    /// Whether its key is the name of an interface and nothing else.
    pub(super) fn is_of_names(&self) -> bool {
        matches!(self.key, [Type::Interface])
    }

    pub(super) fn data(&self, ip: Ip) -> Option<(u32, u32)> {
        self.data.map(|types| measure(types, ip))
    }
}

const BRIDGES: &str = "bridges";
const AMONG: &str = "among";
const CLOSED: &str = "closed";
const INTERNAL: &str = "internal";
const SOURCES: &str = "sources";
const PORTS: &str = "ports";
pub(super) const PORTS_AT: &str = "ports-at";

pub(super) const SETS: &[Set] = &[
    // Every bridge of this owner.
    Set { name: BRIDGES, key: &[Type::Interface], data: None, flags: 0 },
    // Pairs between which everything goes: a bridge and itself.
    Set { name: AMONG, key: &[Type::Interface, Type::Interface], data: None, flags: 0 },
    // Bridges that let nothing in from outside but published ports.
    Set { name: CLOSED, key: &[Type::Interface], data: None, flags: 0 },
    Set { name: INTERNAL, key: &[Type::Interface], data: None, flags: 0 },
    // Subnets, and the chain that knows whether they are masqueraded.
    Set {
        name: SOURCES,
        key: &[Type::Address],
        data: Some(&[Type::Verdict]),
        flags: wire::SET_MAP | wire::SET_INTERVAL,
    },
    // Published at every address.
    Set {
        name: PORTS,
        key: &[Type::Protocol, Type::Port],
        data: Some(&[Type::Address, Type::Port]),
        flags: wire::SET_MAP,
    },
    // Published at one.
    Set {
        name: PORTS_AT,
        key: &[Type::Address, Type::Protocol, Type::Port],
        data: Some(&[Type::Address, Type::Port]),
        flags: wire::SET_MAP,
    },
];

/// A chain, and where the kernel enters it.
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) base: Option<Base>,
    pub(super) rules: Vec<Rule>,
}

pub(super) struct Base {
    pub(super) kind: &'static str,
    pub(super) hook: u32,
    pub(super) priority: i32,
}

/// Chains that are the same for every owner, in the order in which they can be made.
pub(super) fn chains() -> Vec<Chain> {
    use Interface::{In, Out};
    use Part::{Established, FromTo, Relayed, Then, ToLoopback, ToThisHost, Translate, Translated};
    use Verdict::{Accept, Drop, Goto, Return};
    let base = |kind, hook, priority| Some(Base { kind, hook, priority });
    vec![
        Chain {
            name: "forward",
            base: base("filter", wire::FORWARD, 0),
            rules: vec![
                vec![Established, Then(Accept)],
                vec![FromTo(AMONG), Then(Accept)],
                vec![Part::Through(In, INTERNAL), Then(Drop)],
                vec![Part::Through(Out, INTERNAL), Then(Drop)],
                vec![Translated, Then(Accept)],
                // Neither from one network to another, nor among those of one that is to be kept apart.
                vec![Part::Through(In, BRIDGES), Part::Through(Out, BRIDGES), Then(Drop)],
                vec![Part::Through(Out, CLOSED), Then(Drop)],
            ],
        },
        Chain {
            name: "published",
            base: None,
            rules: vec![
                // Served by a relay: the kernel does not route 127.0.0.1 to another interface, and must not learn to.
                vec![ToLoopback, Then(Return)],
                vec![Translate { map: PORTS_AT, address: true }],
                vec![Translate { map: PORTS, address: false }],
            ],
        },
        // What is addressed to this host, whichever interface it came by; what containers send elsewhere passes.
        Chain {
            name: "prerouting",
            base: base("nat", wire::PREROUTING, -100),
            rules: vec![
                // A container's way to its own network and back would be a bridge's, which filters of its own get in the
                // way of (br_netfilter); the relay takes what comes from containers.
                vec![Part::Through(In, BRIDGES), Relayed, Then(Return)],
                vec![ToThisHost, Then(Goto("published"))],
            ],
        },
        Chain {
            name: "output",
            base: base("nat", wire::OUTPUT, -100),
            rules: vec![vec![ToThisHost, Then(Goto("published"))]],
        },
        Chain {
            name: "postrouting",
            base: base("nat", wire::POSTROUTING, 100),
            rules: vec![vec![Part::BySource(SOURCES)]],
        },
    ]
}

/// A member of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) set: &'static str,
    pub(super) key: Vec<u8>,
    /// The first key behind an interval, if there is any (an interval may reach to the last address).
    pub(super) end: Option<Vec<u8>>,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    None,
    Data(Vec<u8>),
    Verdict(Verdict),
}

/// A network's part in the table of one family.
pub(super) struct Network {
    pub(super) elements: Vec<Element>,
    /// The chain of its own and its rules; empty if it needs none.
    pub(super) chain: String,
    pub(super) rules: Vec<Rule>,
}

/// None if the network has no part in the family. An internal one has: nothing may leave it by IPv6 either.
pub(super) fn network(ip: Ip, network: &NetworkRules) -> Option<Network> {
    let subnets: Vec<&IpNet> = network.subnets.iter().filter(|subnet| family(subnet.addr()) == ip).collect();
    if subnets.is_empty() && !network.internal {
        return None;
    }
    let bridge = interface_name(&network.bridge);
    let member = |set, key: Vec<u8>| Element { set, key, end: None, value: Value::None };
    let mut elements = vec![member(BRIDGES, bridge.to_vec())];
    if network.among_themselves {
        elements.push(member(AMONG, [bridge, bridge].concat()));
    }
    if network.internal {
        elements.push(member(INTERNAL, bridge.to_vec()));
    }
    if !network.routed {
        elements.push(member(CLOSED, bridge.to_vec()));
    }
    let chain = chain_name(&network.bridge);
    let mut rules = Vec::new();
    if !network.internal {
        let bridge = |equal| Part::Is(Interface::Out, network.bridge.clone(), equal);
        // Who reaches its own network by a public port must get the answer from there.
        let hairpin = vec![bridge(true), Part::Translated, Part::Masquerade];
        if network.masquerade {
            rules.push(vec![bridge(false), Part::Masquerade]);
        }
        rules.push(hairpin);
        elements.extend(subnets.into_iter().map(|subnet| Element {
            set: SOURCES,
            key: octets(subnet.network()),
            end: after(subnet.broadcast()),
            value: Value::Verdict(Verdict::GotoNetwork(chain.clone())),
        }));
    }
    Some(Network { elements, chain, rules })
}

pub(super) fn chain_name(bridge: &str) -> String {
    format!("from-{bridge}")
}

/// None for what is not done here: loopback addresses, and ports that lead to the other family.
pub(super) fn port(rule: &PortRule) -> Option<(Ip, Element)> {
    let port = &rule.port;
    let ip = family(port.host_address);
    let elsewhere = !port.host_address.is_loopback() && family(port.container_address) == ip;
    elsewhere.then(|| (ip, redirection(port)))
}

/// What leads from one address and port to another.
pub(super) fn redirection(port: &Published) -> Element {
    let protocol = [port.protocol.number(), 0, 0, 0];
    let padded = |port: u16| [port.to_be_bytes(), [0; 2]].concat();
    let mut key = Vec::new();
    let set = if port.host_address.is_unspecified() {
        PORTS
    } else {
        key.extend(octets(port.host_address));
        PORTS_AT
    };
    key.extend(protocol);
    key.extend(padded(port.host_port));
    let mut data = octets(port.container_address);
    data.extend(padded(port.container_port));
    Element { set, key, end: None, value: Value::Data(data) }
}

fn family(address: IpAddr) -> Ip {
    match address {
        IpAddr::V4(_) => Ip::V4,
        IpAddr::V6(_) => Ip::V6,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The next address; none after the last.
fn after(address: IpAddr) -> Option<Vec<u8>> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_add(1).map(|next| next.to_be_bytes().to_vec()),
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|next| next.to_be_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Protocol, Published};

    fn published(host: &str, container: &str) -> PortRule {
        let port = Published {
            protocol: Protocol::Udp,
            host_address: host.parse().unwrap(),
            host_port: 0x1234,
            container_address: container.parse().unwrap(),
            container_port: 80,
        };
        PortRule { port, bridge: "b0".into() }
    }

    #[test]
    fn a_port_of_one_address_is_found_by_that_address() {
        let (ip, element) = port(&published("192.0.2.1", "10.0.0.2")).unwrap();
        assert_eq!((ip, element.set), (Ip::V4, PORTS_AT));
        assert_eq!(element.key, [192, 0, 2, 1, 17, 0, 0, 0, 0x12, 0x34, 0, 0]);
        assert_eq!(element.value, Value::Data(vec![10, 0, 0, 2, 0, 80, 0, 0]));
    }

    #[test]
    fn loopback_and_the_other_family_are_left_to_the_relay() {
        assert!(port(&published("127.0.0.1", "10.0.0.2")).is_none());
        assert!(port(&published("::1", "fd00::2")).is_none());
        assert!(port(&published("::", "10.0.0.2")).is_none());
    }

    #[test]
    fn an_interval_that_reaches_the_last_address_has_no_end() {
        assert_eq!(after("255.255.255.255".parse().unwrap()), None);
        assert_eq!(after("10.0.255.255".parse().unwrap()), Some(vec![10, 1, 0, 0]));
    }

    #[test]
    fn an_internal_network_is_known_to_both_families() {
        let mut rules = NetworkRules {
            bridge: "b0".into(),
            subnets: vec!["10.0.0.0/24".parse().unwrap()],
            masquerade: true,
            internal: true,
            among_themselves: true,
            routed: false,
        };
        assert!(network(Ip::V6, &rules).is_some());
        assert!(network(Ip::V6, &rules).unwrap().rules.is_empty());
        rules.internal = false;
        assert!(network(Ip::V6, &rules).is_none());
        assert_eq!(network(Ip::V4, &rules).unwrap().rules.len(), 2);
    }
}
