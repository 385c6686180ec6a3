//! rtnetlink(7): links, addresses and routes of the network namespace that a [`Route`] was opened in.
//!
//! `link.rs` makes and finds interfaces, `address.rs` gives them addresses and ways out. Numbers are those of
//! linux/rtnetlink.h, linux/if_link.h and linux/if_addr.h.

pub(crate) mod address;
mod link;

use rustix::io::Errno;

pub(crate) use address::octets as address_octets;
pub use address::{Address, Destination, Way, WayKind};
pub use link::{LinkInfo, MAX_NAME, NewLink};

use crate::netlink::{Family, Message, Requests, Socket};
use crate::{Error, Result, namespace};

/// A socket for one network namespace.
#[derive(Debug)]
pub struct Route {
    socket: Socket,
}

impl Route {
    /// Of the calling thread's network namespace.
    pub fn open() -> Result<Self> {
        let socket = Socket::open(Family::Route).map_err(Error::io("open a netlink socket"))?;
        Ok(Self { socket })
    }

    /// Of the one where bridges are.
    pub fn home() -> Result<Self> {
        namespace::at_home(Self::open)?
    }

    /// Carries out requests that stand for one step, which `action` names.
    fn carry_out(&self, action: &str, requests: &Requests) -> Result<()> {
        self.socket.carry_out(requests).map_err(|(_, errno)| Error::io(action)(errno))
    }

    /// For requests that answer.
    fn exchange(&self, requests: &Requests, each: impl FnMut(Message<'_>)) -> Result<(), Errno> {
        self.socket.exchange(requests, each).map_err(|(_, errno)| errno)
    }
}
