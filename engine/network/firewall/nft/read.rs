//! What is in the kernel, read back: for looking whether all is in force, and for saying what is left.

use std::collections::HashMap;

use rustix::io::Errno;

use super::expressions::value;
use super::layout::{self, Element, Value};
use super::wire::{self, Ip, attr, message};
use crate::firewall::Wanted;
use crate::netlink::message::NESTED;
use crate::netlink::{Attributes, Requests, Socket};

/// Whether everything of the family that is wanted is there, and each chain has as many rules as it is to have.
pub(super) fn is_intact(socket: &Socket, table: &str, ip: Ip, wanted: &Wanted) -> Result<bool, Errno> {
    let networks: Vec<_> = wanted.networks.iter().filter_map(|network| layout::network(ip, network)).collect();
    let ports = wanted.ports.iter().filter_map(layout::port).filter(|(of, _)| *of == ip).map(|(_, element)| element);
    let mut elements: Vec<Element> = ports.collect();
    if networks.is_empty() && elements.is_empty() {
        return Ok(true);
    }
    let mut chains: Vec<(String, usize)> =
        layout::chains().into_iter().map(|chain| (chain.name.to_owned(), chain.rules.len())).collect();
    for network in networks {
        if !network.rules.is_empty() {
            chains.push((network.chain, network.rules.len()));
        }
        elements.extend(network.elements);
    }
    let rules = rules(socket, ip, table)?;
    if chains.iter().any(|(name, count)| rules.iter().filter(|chain| *chain == name).count() != *count) {
        return Ok(false);
    }
    for set in layout::SETS {
        let wanted: Vec<&Element> = elements.iter().filter(|element| element.set == set.name).collect();
        let few = wanted.len() <= FEW && set.flags & wire::SET_INTERVAL == 0;
        if wanted.is_empty() {
            continue;
        }
        let there = match few.then(|| has(socket, ip, table, &wanted)) {
            Some(Ok(there)) => there,
            // Before Linux 4.16 only all can be asked for.
            _ => {
                let all: HashMap<_, _> = self::elements(socket, ip, table, set.name)?.into_iter().collect();
                wanted.iter().all(|element| all.get(&element.key).is_some_and(|found| agrees(element, found)))
            }
        };
        if !there {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Up to how many elements are asked for one by one, however large their set is.
const FEW: usize = 64;

fn agrees(element: &Element, found: &[u8]) -> bool {
    match &element.value {
        Value::Data(wanted) => wanted == found,
        Value::None | Value::Verdict(_) => true,
    }
}

/// Whether these elements, all of one set, are there with their values.
fn has(socket: &Socket, ip: Ip, table: &str, wanted: &[&Element]) -> Result<bool, Errno> {
    let mut requests = Requests::new();
    for element in wanted {
        requests.begin(wire::SUBSYSTEM << 8 | message::GETSETELEM, 0, &wire::header(ip.number()));
        requests.string(attr::TABLE, table).string(attr::ELEMENTS_SET, element.set);
        requests.nest(attr::ELEMENTS | NESTED, |list| {
            list.nest(attr::LIST_ELEM | NESTED, |one| {
                one.nest(attr::ELEM_KEY | NESTED, |key| value(key, &element.key));
            });
        });
    }
    let mut found = Vec::new();
    match socket.exchange(&requests, |message| read_elements(message.attributes(wire::HEADER), &mut found)) {
        Ok(()) => {}
        Err((_, Errno::NOENT)) => return Ok(false),
        Err((_, errno)) => return Err(errno),
    }
    let agree = |element: &&Element| found.iter().any(|(key, data)| *key == element.key && agrees(element, data));
    Ok(wanted.iter().all(agree))
}

/// The chain of every rule.
pub(super) fn rules(socket: &Socket, ip: Ip, table: &str) -> Result<Vec<String>, Errno> {
    let narrow = |requests: &mut Requests| {
        requests.string(attr::TABLE, table);
    };
    wire::dump(socket, ip.number(), message::GETRULE, narrow, |rule, found| {
        if rule.string(attr::TABLE).as_deref() == Some(table) {
            found.extend(rule.string(attr::RULE_CHAIN));
        }
    })
}

/// Names of the table's chains.
pub(super) fn chains(socket: &Socket, ip: Ip, table: &str) -> Result<Vec<String>, Errno> {
    wire::dump(
        socket,
        ip.number(),
        message::GETCHAIN,
        |_| {},
        |chain, found| {
            if chain.string(attr::TABLE).as_deref() == Some(table) {
                found.extend(chain.string(attr::CHAIN_NAME));
            }
        },
    )
}

/// Key and value; the value of a verdict is empty.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// The elements of a set; ends of intervals are left out.
pub(super) fn elements(socket: &Socket, ip: Ip, table: &str, set: &str) -> Result<Vec<Pair>, Errno> {
    let narrow = |requests: &mut Requests| {
        requests.string(attr::TABLE, table).string(attr::ELEMENTS_SET, set);
    };
    wire::dump(socket, ip.number(), message::GETSETELEM, narrow, read_elements)
}

fn read_elements(message: Attributes<'_>, found: &mut Vec<Pair>) {
    for (_, element) in message.nested(attr::ELEMENTS) {
        let element = Attributes::of(element);
        let ends = element.be32(attr::ELEM_FLAGS).unwrap_or_default() & wire::INTERVAL_END != 0;
        let value = |kind| element.nested(kind).get(attr::DATA_VALUE).map(<[u8]>::to_vec);
        if let Some(key) = value(attr::ELEM_KEY).filter(|_| !ends) {
            found.push((key, value(attr::ELEM_DATA).unwrap_or_default()));
        }
    }
}

/// Base chains on the forward hook that drop what no rule of theirs accepts, by table and chain.
pub(super) fn dropping(socket: &Socket, family: u8) -> Result<Vec<(String, String)>, Errno> {
    wire::dump(
        socket,
        family,
        message::GETCHAIN,
        |_| {},
        |chain, found| {
            let forward = chain.nested(attr::CHAIN_HOOK).be32(attr::HOOK_NUM) == Some(wire::FORWARD);
            // NF_DROP is 0.
            if forward && chain.be32(attr::CHAIN_POLICY) == Some(0) {
                found.extend(chain.string(attr::TABLE).zip(chain.string(attr::CHAIN_NAME)));
            }
        },
    )
}

/// Whether a table that is not `table` has a base chain for NAT.
pub(super) fn others_translate(socket: &Socket, table: &str) -> Result<bool, Errno> {
    let found = wire::dump(
        socket,
        Ip::V4.number(),
        message::GETCHAIN,
        |_| {},
        |chain, found| {
            if chain.string(attr::CHAIN_TYPE).as_deref() == Some("nat") {
                found.extend(chain.string(attr::TABLE));
            }
        },
    )?;
    Ok(found.iter().any(|of| !of.starts_with(table)))
}

/// The chain of every rule of a table, and the one that it jumps or goes to.
pub(super) fn jumps(socket: &Socket, ip: Ip, table: &str) -> Result<Vec<(String, Option<String>)>, Errno> {
    let narrow = |requests: &mut Requests| {
        requests.string(attr::TABLE, table);
    };
    wire::dump(socket, ip.number(), message::GETRULE, narrow, |rule, found| {
        if rule.string(attr::TABLE).as_deref() != Some(table) {
            return;
        }
        let target = rule.nested(attr::RULE_EXPRESSIONS).find_map(|(_, expression)| {
            let data = Attributes::of(expression).nested(attr::EXPR_DATA).nested(attr::IMMEDIATE_DATA);
            let immediate = Attributes::of(expression).string(attr::EXPR_NAME).as_deref() == Some("immediate");
            data.nested(attr::DATA_VERDICT).string(attr::VERDICT_CHAIN).filter(|_| immediate)
        });
        found.extend(rule.string(attr::RULE_CHAIN).map(|chain| (chain, target)));
    })
}
