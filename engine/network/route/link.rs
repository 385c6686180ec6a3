//! Interfaces.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::Route;
use crate::netlink::Requests;
use crate::netlink::message::{CREATE, DUMP, EXCL, Message, NESTED};
use crate::plan::Link;
use crate::{Error, Result};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_FLAGS: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;

const IFF_UP: u32 = 1;
/// The longest name of an interface (IFNAMSIZ without the NUL).
pub const MAX_NAME: usize = 15;

/// `struct ifinfomsg`.
fn header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkInfo {
    pub index: u32,
    pub name: String,
    /// `bridge`, `veth`, ...; empty for hardware.
    pub kind: String,
    pub up: bool,
    pub mac: Option<[u8; 6]>,
    pub mtu: u32,
    /// The index of the bridge it is in.
    pub master: Option<u32>,
    /// What its maker says of it.
    pub alias: String,
}

impl LinkInfo {
    fn read(message: Message<'_>) -> Option<Self> {
        let number = |at: usize| Some(u32::from_ne_bytes(*message.payload.get(at..at + 4)?.first_chunk()?));
        let attributes = message.attributes(16);
        let info = attributes.nested(IFLA_LINKINFO);
        Some(Self {
            index: number(4)?,
            name: attributes.string(IFLA_IFNAME)?,
            kind: info.string(IFLA_INFO_KIND).unwrap_or_default(),
            up: number(8)? & IFF_UP != 0,
            mac: attributes.get(IFLA_ADDRESS).and_then(|value| value.try_into().ok()),
            mtu: attributes.u32(IFLA_MTU).unwrap_or_default(),
            master: attributes.u32(IFLA_MASTER),
            alias: attributes.string(IFLA_IFALIAS).unwrap_or_default(),
        })
    }
}

/// An interface to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewLink<'a> {
    pub name: &'a str,
    pub mac: Option<[u8; 6]>,
    pub mtu: Option<u32>,
}

impl NewLink<'_> {
    fn write(&self, requests: &mut Requests) {
        requests.string(IFLA_IFNAME, self.name);
        if let Some(mac) = &self.mac {
            requests.attribute(IFLA_ADDRESS, mac);
        }
        if let Some(mtu) = self.mtu {
            requests.u32(IFLA_MTU, mtu);
        }
    }
}

impl Route {
    pub fn link(&self, name: &str) -> Result<Option<LinkInfo>> {
        let mut requests = Requests::new();
        requests.begin(RTM_GETLINK, 0, &header(0, 0, 0)).string(IFLA_IFNAME, name);
        self.find_link(&requests, name)
    }

    /// The interface of that index.
    pub fn link_at(&self, index: u32) -> Result<Option<LinkInfo>> {
        let mut requests = Requests::new();
        requests.begin(RTM_GETLINK, 0, &header(index, 0, 0));
        self.find_link(&requests, &format!("number {index}"))
    }

    fn find_link(&self, requests: &Requests, which: &str) -> Result<Option<LinkInfo>> {
        let mut found = None;
        match self.exchange(requests, |message| found = found.take().or(LinkInfo::read(message))) {
            Ok(()) => Ok(found),
            Err(Errno::NODEV) => Ok(None),
            Err(error) => Err(Error::io(format!("look for the interface {which}"))(error)),
        }
    }

    pub fn links(&self) -> Result<Vec<LinkInfo>> {
        let mut requests = Requests::new();
        requests.begin(RTM_GETLINK, DUMP, &header(0, 0, 0));
        let mut found = Vec::new();
        self.exchange(&requests, |message| found.extend(LinkInfo::read(message)))
            .map_err(Error::io("list the interfaces"))?;
        Ok(found)
    }

    /// A bridge, not up yet, and what is to be said of it. [`Error::Conflict`] if there is an interface of that name.
    pub fn add_bridge(&self, link: &NewLink<'_>, alias: &str) -> Result<()> {
        let mut requests = Requests::new();
        requests.begin(RTM_NEWLINK, CREATE | EXCL, &header(0, 0, 0));
        link.write(&mut requests);
        requests.nest(IFLA_LINKINFO | NESTED, |info| {
            info.string(IFLA_INFO_KIND, "bridge");
        });
        // The kernel takes it of interfaces that are there only.
        requests.begin(RTM_NEWLINK, 0, &header(0, 0, 0)).string(IFLA_IFNAME, link.name).string(IFLA_IFALIAS, alias);
        self.make(&format!("add the bridge {}", link.name), link.name, &requests)
    }

    /// A pair: `host` here and in the bridge of that index, `inside` in the namespace `peer`.
    pub fn add_veth(&self, host: &NewLink<'_>, bridge: u32, inside: &NewLink<'_>, peer: BorrowedFd<'_>) -> Result<()> {
        let mut requests = Requests::new();
        requests.begin(RTM_NEWLINK, CREATE | EXCL, &header(0, 0, 0));
        host.write(&mut requests);
        requests.nest(IFLA_LINKINFO | NESTED, |info| {
            info.string(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA | NESTED, |data| {
                data.nest(VETH_INFO_PEER | NESTED, |end| {
                    end.raw(&header(0, 0, 0));
                    inside.write(end);
                    end.attribute(IFLA_NET_NS_FD, &peer.as_raw_fd().to_ne_bytes());
                });
            });
        });
        // In a step of its own: old kernels do not look at the master of an interface that they make.
        requests.begin(RTM_NEWLINK, 0, &header(0, IFF_UP, IFF_UP));
        requests.string(IFLA_IFNAME, host.name).u32(IFLA_MASTER, bridge);
        self.make(&format!("add the interface {} and its peer {}", host.name, inside.name), host.name, &requests)
    }

    /// A macvlan or ipvlan of the parent with that index, made in the namespace `target` under its name there.
    pub fn add_of_parent(&self, kind: &Link, parent: u32, link: &NewLink<'_>, target: BorrowedFd<'_>) -> Result<()> {
        let mut requests = Requests::new();
        requests.begin(RTM_NEWLINK, CREATE | EXCL, &header(0, 0, 0));
        link.write(&mut requests);
        requests.u32(IFLA_LINK, parent).attribute(IFLA_NET_NS_FD, &target.as_raw_fd().to_ne_bytes());
        requests.nest(IFLA_LINKINFO | NESTED, |info| match kind {
            Link::Macvlan { mode, .. } => {
                info.string(IFLA_INFO_KIND, "macvlan").nest(IFLA_INFO_DATA | NESTED, |data| {
                    data.u32(IFLA_MACVLAN_MODE, *mode);
                });
            }
            Link::Ipvlan { mode, flags, .. } => {
                info.string(IFLA_INFO_KIND, "ipvlan").nest(IFLA_INFO_DATA | NESTED, |data| {
                    data.attribute(IFLA_IPVLAN_MODE, &mode.to_ne_bytes());
                    data.attribute(IFLA_IPVLAN_FLAGS, &flags.to_ne_bytes());
                });
            }
            Link::Bridge { .. } => {}
        });
        self.make(&format!("add the interface {}", link.name), link.name, &requests)
    }

    /// A VLAN of the parent with that index, up.
    pub fn add_vlan(&self, name: &str, parent: u32, id: u16) -> Result<()> {
        let mut requests = Requests::new();
        requests.begin(RTM_NEWLINK, CREATE | EXCL, &header(0, IFF_UP, IFF_UP)).string(IFLA_IFNAME, name);
        requests.u32(IFLA_LINK, parent).nest(IFLA_LINKINFO | NESTED, |info| {
            info.string(IFLA_INFO_KIND, "vlan").nest(IFLA_INFO_DATA | NESTED, |data| {
                data.attribute(IFLA_VLAN_ID, &id.to_ne_bytes());
            });
        });
        self.make(&format!("add the VLAN {name}"), name, &requests)
    }

    /// An interface that leads nowhere, up.
    pub fn add_dummy(&self, name: &str) -> Result<()> {
        let mut requests = Requests::new();
        requests.begin(RTM_NEWLINK, CREATE | EXCL, &header(0, IFF_UP, IFF_UP)).string(IFLA_IFNAME, name);
        requests.nest(IFLA_LINKINFO | NESTED, |info| {
            info.string(IFLA_INFO_KIND, "dummy");
        });
        self.make(&format!("add the interface {name}"), name, &requests)
    }

    fn make(&self, action: &str, name: &str, requests: &Requests) -> Result<()> {
        match self.carry_out(action, requests) {
            Err(error) if error.errno() == Some(Errno::EXIST.raw_os_error()) => {
                Err(Error::Conflict(format!("{action}: there is an interface {name} already")))
            }
            Err(error) if [Errno::PERM, Errno::ACCESS].iter().any(|no| error.errno() == Some(no.raw_os_error())) => {
                Err(Error::Unavailable(format!("{action}: operation not permitted; it takes CAP_NET_ADMIN")))
            }
            // What the kernel says where it has no such kind of interface.
            Err(error) if error.errno() == Some(Errno::OPNOTSUPP.raw_os_error()) => Err(Error::Unavailable(format!(
                "{action}: this kernel has no such interfaces (operation not supported); load or build the module"
            ))),
            other => other,
        }
    }

    pub fn set_up(&self, index: u32) -> Result<()> {
        let mut requests = Requests::new();
        requests.begin(RTM_NEWLINK, 0, &header(index, IFF_UP, IFF_UP));
        self.carry_out("bring an interface up", &requests)
    }

    /// Puts an interface into the bridge of that index, and brings it up. Idempotent.
    pub fn set_master(&self, index: u32, bridge: u32) -> Result<()> {
        let mut requests = Requests::new();
        requests.begin(RTM_NEWLINK, 0, &header(index, IFF_UP, IFF_UP)).u32(IFLA_MASTER, bridge);
        self.carry_out("put an interface into a bridge", &requests)
    }

    /// Idempotent.
    pub fn remove_link(&self, name: &str) -> Result<()> {
        let mut requests = Requests::new();
        requests.begin(RTM_DELLINK, 0, &header(0, 0, 0)).string(IFLA_IFNAME, name);
        match self.carry_out(&format!("remove the interface {name}"), &requests) {
            Err(error) if error.errno() == Some(Errno::NODEV.raw_os_error()) => Ok(()),
            other => other,
        }
    }
}
