//! Layout -> messages.

use super::expressions::{self, Rule, value};
use super::layout::{self, Base, Element, Network, Set, Value};
use super::wire::{self, Batch, Ip, attr, message};
use crate::netlink::Requests;
use crate::netlink::message::NESTED;

/// Bytes of elements in one message: a nest's length has sixteen bits.
const ROOM: usize = 32 * 1024;

/// The table with its sets and chains. What is there stays, except for the rules, which are made anew: so a table that
/// lost them is whole again, and packets never see one without.
pub(super) fn base(batch: &mut Batch<'_>, ip: Ip) {
    batch.create(ip.number(), message::NEWTABLE);
    (1u32..).zip(layout::SETS).for_each(|(id, one)| set(batch, ip, id, one));
    let chains = layout::chains();
    chains.iter().for_each(|one| chain(batch, ip, one.name, one.base.as_ref()));
    chains.iter().for_each(|one| rules(batch, ip, one.name, &one.rules));
}

/// `id` is its name within the batch.
pub(super) fn set(batch: &mut Batch<'_>, ip: Ip, id: u32, set: &Set) {
    let (key_type, key_length) = set.key(ip);
    let request = batch.create(ip.number(), message::NEWSET);
    request.string(attr::SET_NAME, set.name).be32(attr::SET_FLAGS, set.flags);
    request.be32(attr::SET_KEY_TYPE, key_type).be32(attr::SET_KEY_LEN, key_length).be32(attr::SET_ID, id);
    if set.is_of_names() {
        // NFTNL_UDATA_SET_KEYBYTEORDER, four bytes, BYTEORDER_HOST_ENDIAN: else nft prints names as nothing.
        request.attribute(attr::SET_USERDATA, &[&[0, 4][..], &1u32.to_ne_bytes()].concat());
    }
    match set.data(ip) {
        Some((wire::VERDICTS, _)) => {
            request.be32(attr::SET_DATA_TYPE, wire::VERDICTS);
        }
        Some((data_type, data_length)) => {
            request.be32(attr::SET_DATA_TYPE, data_type).be32(attr::SET_DATA_LEN, data_length);
        }
        None => {}
    }
}

pub(super) fn chain(batch: &mut Batch<'_>, ip: Ip, name: &str, base: Option<&Base>) {
    let request = batch.create(ip.number(), message::NEWCHAIN).string(attr::CHAIN_NAME, name);
    if let Some(base) = base {
        request.nest(attr::CHAIN_HOOK | NESTED, |hook| {
            hook.be32(attr::HOOK_NUM, base.hook).be32(attr::HOOK_PRIORITY, base.priority as u32);
        });
        request.string(attr::CHAIN_TYPE, base.kind);
    }
}

/// Replaces the chain's rules.
pub(super) fn rules(batch: &mut Batch<'_>, ip: Ip, chain: &str, rules: &[Rule]) {
    flush(batch, ip, chain);
    for rule in rules {
        let request = batch.change(
            ip.number(),
            message::NEWRULE,
            crate::netlink::message::CREATE | crate::netlink::message::APPEND,
        );
        expressions::write(rule, ip, request.string(attr::RULE_CHAIN, chain));
    }
}

pub(super) fn flush(batch: &mut Batch<'_>, ip: Ip, chain: &str) {
    batch.change(ip.number(), message::DELRULE, 0).string(attr::RULE_CHAIN, chain);
}

pub(super) fn network(batch: &mut Batch<'_>, ip: Ip, network: &Network) {
    if !network.rules.is_empty() {
        chain(batch, ip, &network.chain, None);
        rules(batch, ip, &network.chain, &network.rules);
    }
    elements(batch, ip, message::NEWSETELEM, &network.elements);
}

pub(super) fn delete_chain(batch: &mut Batch<'_>, ip: Ip, name: &str) {
    flush(batch, ip, name);
    batch.change(ip.number(), message::DELCHAIN, 0).string(attr::CHAIN_NAME, name);
}

/// Adds (without minding those that are there with the same value) or deletes elements of any sets.
pub(super) fn elements(batch: &mut Batch<'_>, ip: Ip, kind: u16, elements: &[Element]) {
    for of_set in elements.chunk_by(|one, other| one.set == other.set) {
        for part in of_set.chunks(ROOM / 128) {
            let request = match kind {
                message::NEWSETELEM => batch.create(ip.number(), kind),
                _ => batch.change(ip.number(), kind, 0),
            };
            request.string(attr::ELEMENTS_SET, part[0].set).nest(attr::ELEMENTS | NESTED, |list| {
                part.iter().for_each(|element| write(list, element));
            });
        }
    }
}

fn write(list: &mut Requests, element: &Element) {
    list.nest(attr::LIST_ELEM | NESTED, |one| {
        one.nest(attr::ELEM_KEY | NESTED, |key| value(key, &element.key));
        match &element.value {
            Value::None => {}
            Value::Data(data) => {
                one.nest(attr::ELEM_DATA | NESTED, |nest| value(nest, data));
            }
            Value::Verdict(verdict) => {
                one.nest(attr::ELEM_DATA | NESTED, |nest| verdict.write(nest));
            }
        }
    });
    if let Some(end) = &element.end {
        list.nest(attr::LIST_ELEM | NESTED, |one| {
            one.be32(attr::ELEM_FLAGS, wire::INTERVAL_END).nest(attr::ELEM_KEY | NESTED, |key| value(key, end));
        });
    }
}
