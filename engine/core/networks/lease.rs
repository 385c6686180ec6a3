//! Addresses: who has which, by leases in the store.
//!
//! A lease is taken in one transaction and stays with its container, also when that has ended: it gets the same address
//! again. Where an address is needed that a container has which does not run, it is taken over, with the lock of that
//! container, so that it cannot start meanwhile.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use berth_monitor::client;
use berth_network::plan::Link;
use ipnet::IpNet;
use rusqlite::{OptionalExtension, Transaction};

use super::endpoints::Endpoint;
use super::record::Subnet;
use crate::containers::record::{self, Phase};
use crate::{Engine, Error, Result};

/// How long somebody who is about to go is waited for. No longer: two that start and want what the other one has would wait for
/// each other.
const SHORTLY: Duration = Duration::from_millis(500);

/// Whether an address of a subnet can be an interface's: not the network's own, nor its broadcast.
pub(crate) fn can_be_a_hosts(subnet: IpNet, address: IpAddr) -> bool {
    match (subnet, address) {
        (IpNet::V4(net), IpAddr::V4(address)) if net.prefix_len() < 31 => {
            address != net.network() && address != net.broadcast()
        }
        // The subnet-router anycast address (RFC 4291).
        (IpNet::V6(net), IpAddr::V6(address)) if net.prefix_len() < 127 => address != net.network(),
        _ => true,
    }
}

pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

pub(crate) fn from_octets(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

/// What one attempt came to.
enum Attempt {
    Leased(Vec<IpNet>),
    /// Somebody has it.
    Held {
        holder: String,
        address: IpAddr,
    },
    /// No address of the subnet is free; who has them.
    Full {
        subnet: IpNet,
        holders: Vec<String>,
    },
}

impl Engine {
    /// The endpoint's addresses, one a family, leased to its container.
    pub(super) fn lease_addresses(&self, endpoint: &Endpoint) -> Result<Vec<IpNet>> {
        loop {
            match self.store().write(|transaction| attempt(transaction, endpoint))? {
                Attempt::Leased(addresses) => return Ok(addresses),
                Attempt::Held { holder, address } => {
                    if !self.take_over(&holder, |transaction| {
                        transaction.execute(
                            "DELETE FROM addresses WHERE network = ?1 AND address = ?2 AND container = ?3",
                            (&endpoint.network.id, octets(address), &holder),
                        )?;
                        Ok(())
                    })? {
                        return Err(Error::Conflict(format!(
                            "Address already in use: {address} of network {} is container {}'s",
                            endpoint.network.name,
                            self.name_of(&holder)
                        )));
                    }
                }
                Attempt::Full { subnet, holders } => {
                    let mut freed = false;
                    for holder in holders {
                        freed = self.take_over(&holder, |transaction| {
                            transaction.execute(
                                "DELETE FROM addresses WHERE network = ?1 AND container = ?2",
                                (&endpoint.network.id, &holder),
                            )?;
                            Ok(())
                        })?;
                        if freed {
                            break;
                        }
                    }
                    if !freed {
                        return Err(Error::Conflict(format!(
                            "no available IPv{} addresses on this network's address pools: {} ({}), {subnet} is full",
                            if subnet.addr().is_ipv6() { 6 } else { 4 },
                            endpoint.network.name,
                            endpoint.network.id
                        )));
                    }
                }
            }
        }
    }

    /// Runs `f` in a transaction if `holder` does not run and will not meanwhile; false if it runs.
    pub(super) fn take_over(&self, holder: &str, f: impl FnOnce(&Transaction<'_>) -> Result<()>) -> Result<bool> {
        let begin = Instant::now();
        loop {
            // Whoever holds the lock starts it, or is about to remove it.
            let lock = self.try_lock(holder)?;
            let container = match self.store().read(|connection| record::by_id(connection, holder)) {
                Ok(container) => container,
                Err(Error::NotFound(_)) => return Ok(true),
                Err(error) => return Err(error),
            };
            // One that is being removed has ended for good, however long its files take.
            let mut free = container.phase == Phase::Removing;
            if !free && lock.is_some() {
                if self.settled_state(&container)?.status.is_up() {
                    return Ok(false);
                }
                // It has just ended; or it is about to run, and the engine that started it was killed.
                free = !client::is_alive(&self.run_folder(&container));
            }
            if free {
                self.store().write(|transaction| f(transaction))?;
                return Ok(true);
            }
            if begin.elapsed() > SHORTLY {
                return Ok(false);
            }
            drop(lock);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// For messages.
    pub(super) fn name_of(&self, id: &str) -> String {
        self.find(id).map_or_else(|_| id.to_owned(), |container| container.name)
    }
}

fn attempt(transaction: &Transaction<'_>, endpoint: &Endpoint) -> Result<Attempt> {
    let mut leased = Vec::new();
    for subnet in &endpoint.network.config.subnets {
        let v6 = subnet.subnet.addr().is_ipv6();
        let own = own_lease(transaction, endpoint, subnet)?;
        let address = match endpoint.wanted(v6) {
            Some(wanted) => {
                if own.is_some_and(|own| own != wanted) {
                    forget(transaction, endpoint, own)?;
                }
                match holder(transaction, &endpoint.network.id, wanted)? {
                    Some(holder) if holder != endpoint.container => {
                        return Ok(Attempt::Held { holder, address: wanted });
                    }
                    _ => wanted,
                }
            }
            None => match own {
                Some(own) => own,
                None => match free(transaction, &endpoint.network.id, subnet)? {
                    Some(address) => address,
                    None => {
                        return Ok(Attempt::Full {
                            subnet: subnet.subnet,
                            holders: holders(transaction, &endpoint.network.id, &endpoint.container)?,
                        });
                    }
                },
            },
        };
        transaction
            .prepare_cached("INSERT OR IGNORE INTO addresses (network, address, container) VALUES (?1, ?2, ?3)")?
            .execute((&endpoint.network.id, octets(address), &endpoint.container))?;
        leased.push(IpNet::new(address, subnet.subnet.prefix_len()).unwrap_or(IpNet::from(address)));
    }
    Ok(Attempt::Leased(leased))
}

fn own_lease(transaction: &Transaction<'_>, endpoint: &Endpoint, subnet: &Subnet) -> Result<Option<IpAddr>> {
    let mut statement =
        transaction.prepare_cached("SELECT address FROM addresses WHERE container = ?1 AND network = ?2")?;
    let mut rows = statement.query((&endpoint.container, &endpoint.network.id))?;
    while let Some(row) = rows.next()? {
        let address = row.get_ref(0)?.as_blob().ok().and_then(from_octets);
        if let Some(address) = address.filter(|address| subnet.subnet.contains(address)) {
            return Ok(Some(address));
        }
    }
    Ok(None)
}

fn forget(transaction: &Transaction<'_>, endpoint: &Endpoint, address: Option<IpAddr>) -> Result<()> {
    if let Some(address) = address {
        transaction.execute(
            "DELETE FROM addresses WHERE network = ?1 AND address = ?2 AND container = ?3",
            (&endpoint.network.id, octets(address), &endpoint.container),
        )?;
    }
    Ok(())
}

fn holder(transaction: &Transaction<'_>, network: &str, address: IpAddr) -> Result<Option<String>> {
    let mut statement =
        transaction.prepare_cached("SELECT container FROM addresses WHERE network = ?1 AND address = ?2")?;
    Ok(statement.query_row((network, octets(address)), |row| row.get(0)).optional()?)
}

fn holders(transaction: &Transaction<'_>, network: &str, except: &str) -> Result<Vec<String>> {
    let mut statement = transaction
        .prepare_cached("SELECT DISTINCT container FROM addresses WHERE network = ?1 AND container <> ?2")?;
    Ok(statement.query_map((network, except), |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// The lowest free address. Leases are sorted as addresses are: by their octets.
fn free(transaction: &Transaction<'_>, network: &str, subnet: &Subnet) -> Result<Option<IpAddr>> {
    let pool = subnet.range.unwrap_or(subnet.subnet);
    let (first, last) = (number(pool.network()), number(pool.broadcast()));
    let address = |number: u128| match pool {
        IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
        IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
    };
    let mut statement = transaction.prepare_cached(
        "SELECT address FROM addresses WHERE network = ?1 AND length(address) = ?2 AND address >= ?3 ORDER BY address",
    )?;
    let length = if pool.addr().is_ipv6() { 16 } else { 4 };
    let mut rows = statement.query((network, length, octets(pool.network())))?;
    let mut next_taken = || -> Result<Option<u128>> {
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(row.get_ref(0)?.as_blob().ok().and_then(from_octets).map(number))
    };
    let mut taken = next_taken()?;
    let mut candidate = first;
    while candidate <= last {
        if taken == Some(candidate) {
            taken = next_taken()?;
        } else {
            let found = address(candidate);
            let reserved = subnet.gateway == Some(found) || subnet.reserved.values().any(|other| *other == found);
            if !reserved && can_be_a_hosts(subnet.subnet, found) {
                return Ok(Some(found));
            }
        }
        candidate += 1;
    }
    Ok(None)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The interface's hardware address where none was asked for: from the IPv4 address, so that who gets an address gets
/// its neighbours' memory of it too; else from the endpoint's ID.
pub(super) fn mac_of(addresses: &[IpNet], endpoint: &str, link: &Link) -> Option<[u8; 6]> {
    if matches!(link, Link::Ipvlan { .. }) {
        return None;
    }
    let v4 = addresses.iter().find_map(|net| match net {
        IpNet::V4(net) => Some(net.addr().octets()),
        IpNet::V6(_) => None,
    });
    let digits = u32::from_str_radix(endpoint.get(..8)?, 16).ok()?.to_be_bytes();
    let [a, b, c, d] = v4.unwrap_or(digits);
    Some([0x02, 0x42, a, b, c, d])
}
