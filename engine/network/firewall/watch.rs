//! Noticing that others took rules away (`nft flush ruleset`, `iptables -F`, a firewall's restart), for an engine that
//! stays: it waits for [`Watch::fd`], or looks every [`Watch::interval`], and asks the path whether all is intact.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::iptables::{LEGACY, legacy};
use super::none;
use crate::netlink::{Family, Socket, message};
use crate::{Error, Result};

/// `NFNLGRP_NFTABLES`: every change to any table of the network namespace that the socket was made in.
const GROUP: u32 = 7;

/// `NFT_MSG_DEL*` of linux/netfilter/nf_tables.h with the subsystem before it; objects and others do not concern us.
const DELETIONS: [u16; 5] = [0xa02, 0xa05, 0xa08, 0xa0b, 0xa0e];

/// How often iptables-legacy, which tells nobody, is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

pub struct Watch(Kind);

enum Kind {
    Told(Socket),
    /// The number of entries when it was last looked at.
    Counted(u64),
    Never,
}

impl Watch {
    /// For the path of this name, in the caller's network namespace.
    pub fn open(path: &str) -> Result<Self> {
        Ok(Self(match path {
            none::NAME => Kind::Never,
            LEGACY => Kind::Counted(legacy::count()),
            _ => Kind::Told(subscribe().map_err(Error::io("watch the rules of nf_tables"))?),
        }))
    }

    /// Readable when rules changed; none if the kernel does not tell.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            Kind::Told(socket) => Some(socket.as_fd()),
            Kind::Counted(_) | Kind::Never => None,
        }
    }

    /// When to call [`Watch::changed`] where there is nothing to wait for.
    pub fn interval(&self) -> Option<Duration> {
        matches!(self.0, Kind::Counted(_)).then_some(INTERVAL)
    }

    /// Whether anything was taken away since the last call, by whomever: then it is time for `is_intact`. Never blocks.
    pub fn changed(&mut self) -> Result<bool> {
        match &mut self.0 {
            Kind::Never => Ok(false),
            Kind::Counted(last) => {
                let now = legacy::count();
                Ok(std::mem::replace(last, now) != now)
            }
            Kind::Told(socket) => drain(socket).map_err(Error::io("watch the rules of nf_tables")),
        }
    }
}

fn subscribe() -> std::io::Result<Socket> {
    let socket = Socket::open(Family::Netfilter)?;
    nix::sys::socket::bind(socket.as_fd().as_raw_fd(), &nix::sys::socket::NetlinkAddr::new(0, 1 << (GROUP - 1)))?;
    Ok(socket)
}

fn drain(socket: &Socket) -> Result<bool, Errno> {
    let mut buffer = vec![0; 32 * 1024];
    let mut deleted = false;
    loop {
        match rustix::net::recv(socket.as_fd(), &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((length, _)) => {
                deleted |= message::split(&buffer[..length]).any(|message| DELETIONS.contains(&message.kind));
            }
            // More happened than there was room for.
            Err(Errno::NOBUFS) => deleted = true,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(deleted),
            Err(errno) => return Err(errno),
        }
    }
}
