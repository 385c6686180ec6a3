//! nf_tables by netlink, without the program `nft`: one table a family, named after its owner.
//!
//! `layout.rs` is what the table looks like, `expressions.rs` its rules, `write.rs` and `read.rs` turn both into
//! messages and back, `wire.rs` has the numbers, `probe.rs` tries. Batches are atomic and the kernel takes one after the
//! other, so that processes need no lock of their own. `expressions.rs` needs Linux 4.10 (`fib`).

mod expressions;
mod layout;
pub(super) mod probe;
mod read;
pub(super) mod redirect;
mod wire;
mod write;

use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use super::{NetworkRules, Owner, PacketPath, PortRule, Wanted, conntrack};
use crate::netlink::{Family, Socket};
use crate::{Error, Result};
use layout::{Element, SETS};
use wire::{Batch, Ip, message};

pub(super) const NAME: &str = "nft";

/// The packet path. It keeps no state, only a socket (of the network namespace in which it is first used): closing one
/// waits until the kernel has let go of everything that anybody deleted, ten milliseconds and more.
#[derive(Debug, Default)]
pub(super) struct Nft {
    socket: Mutex<Option<Socket>>,
}

impl Nft {
    fn with<T>(&self, work: impl FnOnce(&Socket) -> Result<T, Errno>) -> Result<T, Errno> {
        let mut kept = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = match kept.take() {
            Some(socket) => socket,
            None => Socket::open(Family::Netfilter)?,
        };
        let answer = work(&socket);
        // After an answer that is none of the usual ones, there may be more to come, which nobody wants.
        if matches!(answer, Ok(_) | Err(Errno::NOENT | Errno::EXIST | Errno::BUSY)) {
            *kept = Some(socket);
        }
        answer
    }

    fn commit(&self, batch: Batch<'_>) -> Result<(), Errno> {
        self.with(|socket| batch.commit(socket))
    }

    fn add(&self, table: &str, elements: &[(Ip, Element)], outdated: &[(Ip, Element)]) -> Result<(), Errno> {
        let mut batch = Batch::new(table);
        each_family(outdated, |ip, elements| write::elements(&mut batch, ip, message::DELSETELEM, elements));
        each_family(elements, |ip, elements| write::elements(&mut batch, ip, message::NEWSETELEM, elements));
        self.commit(batch)
    }
}

impl PacketPath for Nft {
    fn name(&self) -> &'static str {
        NAME
    }

    fn add_network(&self, owner: &Owner, network: &NetworkRules) -> Result<()> {
        let parts = parts(network);
        let commit = |ips: &[Ip]| {
            let mut batch = Batch::new(&owner.0);
            for (ip, part) in parts.iter().filter(|(ip, _)| ips.contains(ip)) {
                write::base(&mut batch, *ip);
                write::network(&mut batch, *ip, part);
            }
            self.commit(batch)
        };
        let needed: Vec<Ip> = Ip::BOTH.into_iter().filter(|ip| takes_part(network, *ip)).collect();
        commit(&Ip::BOTH).or_else(|errno| if lacks_family(errno) { commit(&needed) } else { Err(errno) }).map_err(
            |errno| match errno {
                Errno::EXIST | Errno::BUSY => Error::Conflict(format!(
                    "add the network {} to the table {}: another network has one of its subnets",
                    network.bridge, owner.0
                )),
                errno => Error::io(format!("add the network {} to the table {}", network.bridge, owner.0))(errno),
            },
        )
    }

    fn remove_network(&self, owner: &Owner, network: &NetworkRules) -> Result<()> {
        let parts = parts(network);
        let mut batch = Batch::new(&owner.0);
        for (ip, part) in &parts {
            write::elements(&mut batch, *ip, message::DELSETELEM, &part.elements);
            if !part.rules.is_empty() {
                write::delete_chain(&mut batch, *ip, &part.chain);
            }
        }
        if self.commit(batch).is_ok() {
            return Ok(());
        }
        // Something is not there, or the kernel does not let go of a chain in the same step (before Linux 4.12).
        for (ip, part) in &parts {
            for element in &part.elements {
                tolerate(self.commit(deletion(&owner.0, *ip, element)))
                    .map_err(Error::io(format!("take the network {} out of {}", network.bridge, owner.0)))?;
            }
            let mut batch = Batch::new(&owner.0);
            write::delete_chain(&mut batch, *ip, &part.chain);
            tolerate(self.commit(batch))
                .map_err(Error::io(format!("delete the chain {} of {}", part.chain, owner.0)))?;
        }
        Ok(())
    }

    fn publish(&self, owner: &Owner, ports: &[PortRule]) -> Result<()> {
        let elements: Vec<(Ip, Element)> = by_set(ports);
        if elements.is_empty() {
            return Ok(());
        }
        let action = || format!("publish {} ports in the table {}", ports.len(), owner.0);
        let mut answer = self.add(&owner.0, &elements, &[]);
        for _ in 0..3 {
            if !matches!(answer, Err(Errno::EXIST | Errno::BUSY)) {
                break;
            }
            // Left behind by a container that is no more: ports have one owner, and that is us.
            let old = self.with(|socket| outdated(socket, &owner.0, &elements)).map_err(Error::io(action()))?;
            answer = self.add(&owner.0, &elements, &old);
        }
        match answer {
            Ok(()) => conntrack::forget(ports),
            Err(Errno::NOENT) => {
                return Err(Error::NotFound(format!("{}: the table is not complete", action())));
            }
            Err(errno) => return Err(Error::io(action())(errno)),
        }
        Ok(())
    }

    fn unpublish(&self, owner: &Owner, ports: &[PortRule]) -> Result<()> {
        let elements: Vec<(Ip, Element)> = by_set(ports);
        if elements.is_empty() {
            return Ok(());
        }
        // Added before they are deleted, so that one which is gone is no error, and one that leads elsewhere is.
        let mut batch = Batch::new(&owner.0);
        each_family(&elements, |ip, elements| {
            write::elements(&mut batch, ip, message::NEWSETELEM, elements);
            write::elements(&mut batch, ip, message::DELSETELEM, elements);
        });
        if self.commit(batch).is_err() {
            for (ip, element) in &elements {
                let mut batch = Batch::new(&owner.0);
                write::elements(&mut batch, *ip, message::NEWSETELEM, std::slice::from_ref(element));
                write::elements(&mut batch, *ip, message::DELSETELEM, std::slice::from_ref(element));
                match tolerate(self.commit(batch)) {
                    // Somebody else's by now.
                    Ok(()) | Err(Errno::EXIST | Errno::BUSY) => {}
                    Err(errno) => return Err(Error::io(format!("unpublish a port in the table {}", owner.0))(errno)),
                }
            }
        }
        conntrack::forget(ports);
        Ok(())
    }

    fn is_intact(&self, owner: &Owner, wanted: &Wanted) -> Result<bool> {
        let look = |socket: &Socket| {
            for ip in Ip::BOTH {
                let needed = wanted.networks.iter().any(|network| takes_part(network, ip))
                    || wanted.ports.iter().filter_map(layout::port).any(|(of, _)| of == ip);
                match read::is_intact(socket, &owner.0, ip, wanted) {
                    Ok(true) => {}
                    Ok(false) if ip == Ip::V6 && !needed && !has_family(socket, ip) => {}
                    Ok(false) => return Ok(false),
                    Err(errno) if lacks_family(errno) && !needed => {}
                    Err(errno) => return Err(errno),
                }
            }
            Ok(true)
        };
        self.with(look).map_err(Error::io(format!("look into the table {}", owner.0)))
    }

    fn restore(&self, owner: &Owner, wanted: &Wanted) -> Result<()> {
        let ports = by_set(&wanted.ports);
        let fill = |batch: &mut Batch<'_>, ip: Ip| {
            let networks: Vec<_> = wanted.networks.iter().filter_map(|network| layout::network(ip, network)).collect();
            let ports: Vec<Element> =
                ports.iter().filter(|(of, _)| *of == ip).map(|(_, element)| element.clone()).collect();
            if networks.is_empty() && ports.is_empty() {
                return;
            }
            write::base(batch, ip);
            networks.iter().for_each(|network| write::network(batch, ip, network));
            write::elements(batch, ip, message::NEWSETELEM, &ports);
        };
        let commit = |ips: &[Ip], delete_first: bool| {
            let mut batch = Batch::new(&owner.0);
            for ip in ips {
                if delete_first {
                    delete_table(&mut batch, *ip);
                }
                fill(&mut batch, *ip);
            }
            self.commit(batch)
        };
        let needed: &[Ip] =
            if self.with(|socket| Ok(has_family(socket, Ip::V6))).unwrap_or_default() { &Ip::BOTH } else { &[Ip::V4] };
        let mut answer = commit(needed, true);
        if matches!(answer, Err(Errno::EXIST | Errno::BUSY)) {
            // Kernels that allow one NAT chain a hook count the one that goes (Linux 4.16 and 4.17).
            self.remove(owner)?;
            answer = commit(needed, false);
        }
        answer.map_err(Error::io(format!("restore the table {}", owner.0)))?;
        conntrack::forget(&wanted.ports);
        Ok(())
    }

    fn remove(&self, owner: &Owner) -> Result<()> {
        for ip in Ip::BOTH {
            let mut batch = Batch::new(&owner.0);
            batch.change(ip.number(), message::DELTABLE, 0);
            match tolerate(self.commit(batch)) {
                Err(errno) if !lacks_family(errno) => {
                    return Err(Error::io(format!("delete the table {} {}", ip.name(), owner.0))(errno));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn found(&self, owner: &Owner) -> Result<Vec<String>> {
        let look = |socket: &Socket| {
            let mut lines = Vec::new();
            for ip in Ip::BOTH {
                let chains = match read::chains(socket, ip, &owner.0) {
                    Err(errno) if lacks_family(errno) => continue,
                    chains => chains?,
                };
                if chains.is_empty() {
                    continue;
                }
                let rules = read::rules(socket, ip, &owner.0)?.len();
                let (chains, ip_name) = (chains.len(), ip.name());
                lines.push(format!("table {ip_name} {}: {chains} chains, {rules} rules", owner.0));
                for set in SETS {
                    let count = read::elements(socket, ip, &owner.0, set.name)?.len();
                    if count > 0 {
                        lines.push(format!("table {ip_name} {}: {count} elements in {}", owner.0, set.name));
                    }
                }
            }
            Ok(lines)
        };
        self.with(look).map_err(|errno: Errno| Error::io(format!("look into the table {}", owner.0))(errno))
    }
}

/// The rules of another's table: the chain of each, and where it jumps to.
pub(super) fn jumps(socket: &Socket, v6: bool, table: &str) -> Result<Vec<(String, Option<String>)>, Errno> {
    read::jumps(socket, if v6 { Ip::V6 } else { Ip::V4 }, table)
}

fn parts(network: &NetworkRules) -> Vec<(Ip, layout::Network)> {
    Ip::BOTH.into_iter().filter_map(|ip| Some((ip, layout::network(ip, network)?))).collect()
}

/// Whether the network has addresses of the family, so that it is no network without.
fn takes_part(network: &NetworkRules, ip: Ip) -> bool {
    network
        .subnets
        .iter()
        .any(|subnet| matches!((subnet, ip), (ipnet::IpNet::V4(_), Ip::V4) | (ipnet::IpNet::V6(_), Ip::V6)))
}

/// What a kernel says that has no tables of this family.
fn lacks_family(errno: Errno) -> bool {
    matches!(errno, Errno::AFNOSUPPORT | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT)
}

/// Whether tables of the family can be made, tried by one that is not (the batch deletes it again).
fn has_family(socket: &Socket, ip: Ip) -> bool {
    let mut batch = Batch::new("berth-trial");
    batch.create(ip.number(), message::NEWTABLE);
    batch.change(ip.number(), message::DELTABLE, 0);
    batch.commit(socket).is_ok()
}

/// Elements of one family and set are neighbours.
fn by_set(ports: &[PortRule]) -> Vec<(Ip, Element)> {
    let mut elements: Vec<(Ip, Element)> = ports.iter().filter_map(layout::port).collect();
    elements.sort_by_key(|(ip, element)| (ip.number(), element.set));
    elements
}

fn each_family(elements: &[(Ip, Element)], mut each: impl FnMut(Ip, &[Element])) {
    for part in elements.chunk_by(|one, other| one.0 == other.0) {
        let of_family: Vec<Element> = part.iter().map(|(_, element)| element.clone()).collect();
        each(part[0].0, &of_family);
    }
}

/// Those whose key is there with another value.
fn outdated(socket: &Socket, table: &str, elements: &[(Ip, Element)]) -> Result<Vec<(Ip, Element)>, Errno> {
    let mut old = Vec::new();
    for part in elements.chunk_by(|one, other| (one.0, one.1.set) == (other.0, other.1.set)) {
        let there: std::collections::HashMap<_, _> =
            read::elements(socket, part[0].0, table, part[0].1.set)?.into_iter().collect();
        old.extend(part.iter().filter_map(|(ip, element)| {
            let found = there.get(&element.key)?;
            let value = layout::Value::Data(found.clone());
            (value != element.value).then(|| (*ip, Element { value, ..element.clone() }))
        }));
    }
    Ok(old)
}

fn deletion<'a>(table: &'a str, ip: Ip, element: &Element) -> Batch<'a> {
    let mut batch = Batch::new(table);
    write::elements(&mut batch, ip, message::DELSETELEM, std::slice::from_ref(element));
    batch
}

/// Creates it first, so that it is there.
fn delete_table(batch: &mut Batch<'_>, ip: Ip) {
    batch.create(ip.number(), message::NEWTABLE);
    batch.change(ip.number(), message::DELTABLE, 0);
}

/// What is not there need not be removed.
fn tolerate(answer: Result<(), Errno>) -> Result<(), Errno> {
    match answer {
        Err(Errno::NOENT | Errno::AFNOSUPPORT | Errno::OPNOTSUPP) => Ok(()),
        answer => answer,
    }
}
