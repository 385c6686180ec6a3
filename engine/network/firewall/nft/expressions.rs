//! Rules as lists of expressions: what `nft` writes as text is, to the kernel, a small program on registers.
//!
//! Registers are the 32-bit ones (Linux 4.1): the first is number 8, an interface's name takes four, and what a set is
//! asked for lies in consecutive ones.

use super::wire::{Ip, attr};
use crate::netlink::Requests;
use crate::netlink::message::NESTED;

/// `NFT_REG32_00` and those after it.
fn register(index: u32) -> u32 {
    8 + index
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Return,
    Goto(&'static str),
    /// To a network's own chain.
    GotoNetwork(String),
}

impl Verdict {
    /// `NF_*` of linux/netfilter.h and `NFT_*` of `enum nft_verdicts`.
    fn parts(&self) -> (u32, Option<&str>) {
        match self {
            Self::Drop => (0, None),
            Self::Accept => (1, None),
            Self::Return => (-5i32 as u32, None),
            Self::Goto(chain) => (-4i32 as u32, Some(chain)),
            Self::GotoNetwork(chain) => (-4i32 as u32, Some(chain)),
        }
    }

    /// As the attribute `NFTA_DATA_VERDICT`.
    pub(super) fn write(&self, requests: &mut Requests) {
        let (code, chain) = self.parts();
        requests.nest(attr::DATA_VERDICT | NESTED, |verdict| {
            verdict.be32(attr::VERDICT_CODE, code);
            if let Some(chain) = chain {
                verdict.string(attr::VERDICT_CHAIN, chain);
            }
        });
    }
}

/// Interfaces by the keys of `enum nft_meta_keys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interface {
    In = 6,
    Out = 7,
}

/// What a rule says, in the words of `nft`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// `ct state established,related`
    Established,
    /// `ct status dnat`
    Translated,
    /// `fib daddr type local` (Linux 4.10)
    ToThisHost,
    /// `ip daddr 127.0.0.0/8`, `ip6 daddr ::1`
    ToLoopback,
    /// `meta l4proto != sctp`: what a relay can pass on.
    Relayed,
    /// `iifname @set`
    Through(Interface, &'static str),
    /// `iifname . oifname @set`
    FromTo(&'static str),
    /// `oifname "name"`, or with `!=`
    Is(Interface, String, bool),
    /// `ip saddr vmap @map`
    BySource(&'static str),
    /// `dnat to meta l4proto . th dport map @map`, with `ip daddr .` before if `address`
    Translate {
        map: &'static str,
        address: bool,
    },
    Masquerade,
    Then(Verdict),
}

pub(super) type Rule = Vec<Part>;

/// The list of expressions of a rule, as `NFTA_RULE_EXPRESSIONS`.
pub(super) fn write(rule: &Rule, ip: Ip, requests: &mut Requests) {
    requests.nest(attr::RULE_EXPRESSIONS | NESTED, |list| rule.iter().for_each(|part| part.write(ip, list)));
}

const EQUAL: u32 = 0;
const UNEQUAL: u32 = 1;
/// `enum nft_payload_bases`.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

impl Part {
    fn write(&self, ip: Ip, list: &mut Requests) {
        match self {
            Self::Established => conntrack(list, 0, ESTABLISHED | RELATED),
            Self::Translated => conntrack(list, 2, DNAT),
            Self::ToThisHost => {
                expression(list, "fib", |fib| {
                    fib.be32(1, register(0)).be32(2, FIB_ADDRTYPE).be32(3, FIB_DADDR);
                });
                compare(list, EQUAL, &RTN_LOCAL.to_ne_bytes());
            }
            Self::ToLoopback => match ip {
                Ip::V4 => {
                    payload(list, 0, NETWORK, 16, 1);
                    compare(list, EQUAL, &[127]);
                }
                Ip::V6 => {
                    payload(list, 0, NETWORK, 24, 16);
                    compare(list, EQUAL, &std::net::Ipv6Addr::LOCALHOST.octets());
                }
            },
            Self::Relayed => {
                meta(list, 0, L4PROTO);
                compare(list, UNEQUAL, &[crate::plan::Protocol::Sctp.number()]);
            }
            Self::Through(interface, set) => {
                meta(list, 0, *interface as u32);
                lookup(list, set, None);
            }
            Self::FromTo(set) => {
                meta(list, 0, Interface::In as u32);
                meta(list, 4, Interface::Out as u32);
                lookup(list, set, None);
            }
            Self::Is(interface, name, equal) => {
                meta(list, 0, *interface as u32);
                compare(list, if *equal { EQUAL } else { UNEQUAL }, &interface_name(name));
            }
            Self::BySource(map) => {
                match ip {
                    Ip::V4 => payload(list, 0, NETWORK, 12, 4),
                    Ip::V6 => payload(list, 0, NETWORK, 8, 16),
                }
                // The verdict register.
                lookup(list, map, Some(0));
            }
            Self::Translate { map, address } => translate(list, ip, map, *address),
            Self::Masquerade => expression(list, "masq", |_| {}),
            Self::Then(verdict) => expression(list, "immediate", |immediate| {
                immediate.be32(1, 0).nest(attr::IMMEDIATE_DATA | NESTED, |data| verdict.write(data));
            }),
        }
    }
}

fn translate(list: &mut Requests, ip: Ip, map: &str, address: bool) {
    let (offset, length) = match ip {
        Ip::V4 => (16, 4),
        Ip::V6 => (24, 16),
    };
    let words = length / 4;
    let mut next = 0;
    if address {
        payload(list, next, NETWORK, offset, length);
        next += words;
    }
    meta(list, next, L4PROTO);
    payload(list, next + 1, TRANSPORT, 2, 2);
    lookup(list, map, Some(register(0)));
    // NFT_NAT_DNAT; the map's answer is the address and, after it, the port.
    expression(list, "nat", |nat| {
        nat.be32(1, 1).be32(2, u32::from(ip.number()));
        nat.be32(3, register(0)).be32(5, register(words));
    });
}

/// `enum nft_meta_keys`.
const L4PROTO: u32 = 16;
const FIB_ADDRTYPE: u32 = 3;
const FIB_DADDR: u32 = 2;
/// linux/rtnetlink.h.
const RTN_LOCAL: u32 = 2;
/// `NF_CT_STATE_BIT`, `IPS_DST_NAT` of linux/netfilter/nf_conntrack_common.h.
const ESTABLISHED: u32 = 2;
const RELATED: u32 = 4;
const DNAT: u32 = 32;

fn expression(list: &mut Requests, name: &str, fill: impl FnOnce(&mut Requests)) {
    list.nest(attr::LIST_ELEM | NESTED, |expression| {
        expression.string(attr::EXPR_NAME, name).nest(attr::EXPR_DATA | NESTED, fill);
    });
}

fn meta(list: &mut Requests, to: u32, key: u32) {
    expression(list, "meta", |meta| {
        meta.be32(1, register(to)).be32(2, key);
    });
}

/// True if the key's value has any bit of `mask`.
fn conntrack(list: &mut Requests, key: u32, mask: u32) {
    expression(list, "ct", |ct| {
        ct.be32(1, register(0)).be32(2, key);
    });
    expression(list, "bitwise", |bitwise| {
        bitwise.be32(1, register(0)).be32(2, register(0)).be32(3, 4);
        bitwise.nest(4 | NESTED, |data| value(data, &mask.to_ne_bytes()));
        bitwise.nest(5 | NESTED, |data| value(data, &[0; 4]));
    });
    compare(list, UNEQUAL, &[0; 4]);
}

fn payload(list: &mut Requests, to: u32, base: u32, offset: u32, length: u32) {
    expression(list, "payload", |payload| {
        payload.be32(1, register(to)).be32(2, base).be32(3, offset).be32(4, length);
    });
}

fn compare(list: &mut Requests, how: u32, with: &[u8]) {
    expression(list, "cmp", |cmp| {
        cmp.be32(1, register(0)).be32(2, how).nest(3 | NESTED, |data| value(data, with));
    });
}

fn lookup(list: &mut Requests, set: &str, to: Option<u32>) {
    expression(list, "lookup", |lookup| {
        lookup.string(1, set).be32(2, register(0));
        if let Some(to) = to {
            lookup.be32(3, to);
        }
    });
}

pub(super) fn value(data: &mut Requests, bytes: &[u8]) {
    data.attribute(attr::DATA_VALUE, bytes);
}

/// `IFNAMSIZ` bytes.
pub(super) fn interface_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    // The last byte stays NUL.
    for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    bytes
}
