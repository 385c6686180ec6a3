//! Addresses of interfaces, and routes.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use rustix::io::Errno;

use super::Route;
use crate::netlink::Requests;
use crate::netlink::message::{CREATE, DUMP, EXCL, Message, REPLACE};
use crate::{Error, Result};

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
/// No wait for duplicate address detection: the address is ours by lease.
const IFA_F_NODAD: u8 = 2;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_TABLE: u16 = 15;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RTN_BLACKHOLE: u8 = 6;

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub index: u32,
    pub address: IpNet,
}

/// A route of the main table: where it leads and through which interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    pub index: u32,
    pub to: IpNet,
}

/// What the kernel would do with a packet for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    pub kind: WayKind,
    /// Of the interface that it would leave through.
    pub index: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayKind {
    Unicast,
    /// It is for this host.
    Local,
    /// Broadcast, multicast and the like.
    Other,
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn read_address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?)),
        _ => None,
    }
}

/// `struct ifaddrmsg`.
fn address_header(address: IpNet, index: u32) -> [u8; 8] {
    let flags = if address.addr().is_ipv6() { IFA_F_NODAD } else { 0 };
    let i = index.to_ne_bytes();
    [family(address.addr()), address.prefix_len(), flags, RT_SCOPE_UNIVERSE, i[0], i[1], i[2], i[3]]
}

/// `struct rtmsg`.
fn route_header(to: IpNet, scope: u8) -> [u8; 12] {
    let mut header = [0; 12];
    header[..8].copy_from_slice(&[
        family(to.addr()),
        to.prefix_len(),
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_BOOT,
        scope,
        RTN_UNICAST,
    ]);
    header
}

/// Everything, in the family of `address`.
fn everywhere(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

fn read_one(message: Message<'_>) -> Option<Address> {
    let &[_, length, _, _, a, b, c, d] = message.payload.first_chunk()?;
    let attributes = message.attributes(8);
    let value = attributes.get(IFA_LOCAL).or_else(|| attributes.get(IFA_ADDRESS))?;
    let address = IpNet::new(read_address(value)?, length).ok()?;
    Some(Address { index: u32::from_ne_bytes([a, b, c, d]), address })
}

/// Of the main table, default routes left out.
fn read_destination(message: Message<'_>) -> Option<Destination> {
    let &[_, length, _, _, table, _, _, kind, ..] = message.payload.first_chunk::<12>()?;
    let attributes = message.attributes(12);
    let table = attributes.u32(RTA_TABLE).unwrap_or(table.into());
    if table != RT_TABLE_MAIN.into() || kind != RTN_UNICAST || length == 0 {
        return None;
    }
    let to = IpNet::new(read_address(attributes.get(RTA_DST)?)?, length).ok()?;
    Some(Destination { index: attributes.u32(RTA_OIF)?, to })
}

impl Route {
    /// Gives an interface its addresses, brings it up, and leads what goes elsewhere through `gateways`. One after the
    /// other in one call; what is there already is left.
    pub fn configure(&self, name: &str, index: u32, addresses: &[IpNet], gateways: &[IpAddr]) -> Result<()> {
        for &address in addresses {
            self.add_address(name, index, address)?;
        }
        self.set_up(index)?;
        for &gateway in gateways {
            self.add_default_route(name, index, addresses, gateway)?;
        }
        Ok(())
    }

    pub fn add_address(&self, name: &str, index: u32, address: IpNet) -> Result<()> {
        let mut requests = Requests::new();
        let value = octets(address.addr());
        requests.begin(RTM_NEWADDR, CREATE | EXCL, &address_header(address, index));
        requests.attribute(IFA_LOCAL, &value).attribute(IFA_ADDRESS, &value);
        if let IpNet::V4(net) = address
            && net.prefix_len() < 31
        {
            requests.attribute(IFA_BROADCAST, &net.broadcast().octets());
        }
        there_already(self.carry_out(&format!("give {name} the address {address}"), &requests))
    }

    /// Idempotent.
    pub fn remove_address(&self, name: &str, index: u32, address: IpNet) -> Result<()> {
        let mut requests = Requests::new();
        let value = octets(address.addr());
        requests.begin(RTM_DELADDR, 0, &address_header(address, index));
        requests.attribute(IFA_LOCAL, &value).attribute(IFA_ADDRESS, &value);
        match self.carry_out(&format!("take the address {address} from {name}"), &requests) {
            Err(error) if error.errno() == Some(Errno::ADDRNOTAVAIL.raw_os_error()) => Ok(()),
            other => other,
        }
    }

    /// A gateway outside of the interface's subnets is first made reachable on the link.
    pub fn add_default_route(&self, name: &str, index: u32, own: &[IpNet], gateway: IpAddr) -> Result<()> {
        let mut requests = Requests::new();
        if gateway.is_unspecified() {
            requests.begin(RTM_NEWROUTE, CREATE | REPLACE, &route_header(everywhere(gateway), RT_SCOPE_LINK));
            requests.u32(RTA_OIF, index);
        } else {
            if !own.iter().any(|subnet| subnet.contains(&gateway)) {
                let host = IpNet::from(gateway);
                requests.begin(RTM_NEWROUTE, CREATE | REPLACE, &route_header(host, RT_SCOPE_LINK));
                requests.attribute(RTA_DST, &octets(gateway)).u32(RTA_OIF, index);
            }
            requests.begin(RTM_NEWROUTE, CREATE | REPLACE, &route_header(everywhere(gateway), RT_SCOPE_UNIVERSE));
            requests.attribute(RTA_GATEWAY, &octets(gateway)).u32(RTA_OIF, index);
        }
        self.carry_out(&format!("lead {name}'s way out through {gateway}"), &requests)
    }

    /// What leads nowhere else is dropped without a word; otherwise, IPv6 answers that there is no way. Idempotent.
    pub fn drop_the_rest(&self) -> Result<()> {
        let mut header = route_header(everywhere(Ipv6Addr::UNSPECIFIED.into()), RT_SCOPE_UNIVERSE);
        header[7] = RTN_BLACKHOLE;
        let mut requests = Requests::new();
        requests.begin(RTM_NEWROUTE, CREATE | REPLACE, &header);
        self.carry_out("add a route that drops", &requests)
    }

    /// Idempotent.
    pub fn remove_default_route(&self, index: u32, gateway: IpAddr) -> Result<()> {
        let mut requests = Requests::new();
        requests.begin(RTM_DELROUTE, 0, &route_header(everywhere(gateway), RT_SCOPE_UNIVERSE));
        if !gateway.is_unspecified() {
            requests.attribute(RTA_GATEWAY, &octets(gateway));
        }
        requests.u32(RTA_OIF, index);
        match self.carry_out(&format!("remove the way out through {gateway}"), &requests) {
            Err(error) if error.errno() == Some(Errno::SRCH.raw_os_error()) => Ok(()),
            other => other,
        }
    }

    /// The way that the kernel would take to an address, by all its rules; `None` if it knows none.
    pub fn way(&self, to: IpAddr) -> Result<Option<Way>> {
        let mut header = [0; 12];
        (header[0], header[1]) = (family(to), if to.is_ipv4() { 32 } else { 128 });
        let mut requests = Requests::new();
        requests.begin(RTM_GETROUTE, 0, &header).attribute(RTA_DST, &octets(to));
        let mut found = None;
        let read = |message: Message<'_>| {
            let kind = match message.payload.get(7) {
                Some(&RTN_UNICAST) => WayKind::Unicast,
                Some(&RTN_LOCAL) => WayKind::Local,
                _ => WayKind::Other,
            };
            found = Some(Way { kind, index: message.attributes(12).u32(RTA_OIF).unwrap_or_default() });
        };
        match self.exchange(&requests, read) {
            Ok(()) => Ok(found),
            // The last two are of routes that forbid it.
            Err(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::INVAL | Errno::ACCESS) => Ok(None),
            Err(error) => Err(Error::io(format!("look for a way to {to}"))(error)),
        }
    }

    /// All addresses of this network namespace.
    pub fn addresses(&self) -> Result<Vec<Address>> {
        let mut requests = Requests::new();
        requests.begin(RTM_GETADDR, DUMP, &[0; 8]);
        let mut found = Vec::new();
        self.exchange(&requests, |message| found.extend(read_one(message))).map_err(Error::io("list the addresses"))?;
        Ok(found)
    }

    /// The networks that the main routing table knows ways to, default routes left out.
    pub fn destinations(&self) -> Result<Vec<Destination>> {
        let mut found = Vec::new();
        for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
            let mut requests = Requests::new();
            let mut header = [0; 12];
            header[0] = family;
            requests.begin(RTM_GETROUTE, DUMP, &header);
            self.exchange(&requests, |message| found.extend(read_destination(message)))
                .map_err(Error::io("list the routes"))?;
        }
        Ok(found)
    }
}

fn there_already(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.errno() == Some(Errno::EXIST.raw_os_error()) => Ok(()),
        other => other,
    }
}
