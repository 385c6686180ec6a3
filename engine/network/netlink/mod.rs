//! Netlink: sockets and messages, for rtnetlink and nf_tables alike.
//!
//! `message.rs` writes and reads the format, this file talks. Requests are pipelined: any number of them in one
//! buffer, one system call to send it, and the acknowledgements read after. Our own, because the libraries are either
//! asynchronous or know only one of the two families, and because this is on the path of every `berth run`.

pub mod message;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

pub use message::{Attributes, Message, Requests};

/// `NETLINK_ROUTE` and `NETLINK_NETFILTER` of linux/netlink.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Route = 0,
    Netfilter = 12,
}

/// A netlink socket. It belongs to the network namespace it was made in, wherever its owner goes.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

/// Bytes; as much as the kernel puts into one part of a dump.
const ANSWER: usize = 32 * 1024;

/// Bytes that fit into every socket's send buffer (`net.core.wmem_default` is 160 KiB or more).
const USUAL_ROOM: usize = 64 * 1024;

impl Socket {
    pub fn open(family: Family) -> Result<Self, Errno> {
        let protocol = std::num::NonZeroU32::new(family as u32).map(rustix::net::Protocol::from_raw);
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        Ok(Self { fd })
    }

    /// Sends all requests and waits until each is acknowledged. On a refusal: the index of the first request that was
    /// refused, and why; what was before it is done (rtnetlink), or nothing is (a batch of nf_tables).
    pub fn carry_out(&self, requests: &Requests) -> Result<(), (usize, Errno)> {
        self.exchange(requests, |_| {})
    }

    /// As [`Socket::carry_out`], for requests that answer with messages (a dump, a get, NLM_F_ECHO).
    pub fn exchange(&self, requests: &Requests, mut each: impl FnMut(Message<'_>)) -> Result<(), (usize, Errno)> {
        let whole = |errno| (0, errno);
        let bytes = requests.bytes();
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.len() > USUAL_ROOM {
            // A batch is one datagram however large; root may have more room than net.core.wmem_max.
            let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&self.fd, bytes.len() * 2)
                .or_else(|_| rustix::net::sockopt::set_socket_send_buffer_size(&self.fd, bytes.len() * 2));
        }
        let sent = rustix::io::retry_on_intr(|| rustix::net::send(&self.fd, bytes, SendFlags::empty()));
        if sent.map_err(whole)? != bytes.len() {
            return Err(whole(Errno::MSGSIZE));
        }
        let mut open = requests.awaited();
        let mut refused: Option<(usize, Errno)> = None;
        let mut buffer = vec![0; ANSWER];
        while open > 0 {
            let received =
                rustix::io::retry_on_intr(|| rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::empty()));
            let (length, _) = received.map_err(whole)?;
            for message in message::split(&buffer[..length]) {
                let index = requests.index_of(message.sequence);
                match message.outcome() {
                    // Not ours: an answer to what an earlier call did not wait for.
                    _ if index.is_none() => {}
                    message::Outcome::Data => each(message),
                    message::Outcome::Done => open -= 1,
                    message::Outcome::Refused(errno) => {
                        open -= 1;
                        let index = index.unwrap_or_default();
                        if refused.is_none_or(|(first, _)| index < first) {
                            refused = Some((index, errno));
                        }
                        if requests.is_batch() {
                            // The kernel gives up the whole batch and may acknowledge nothing more.
                            open = 0;
                        }
                    }
                }
            }
        }
        if refused.is_some() && requests.is_batch() {
            // All of a batch's answers are there as soon as it is sent; none may be taken for the next one's.
            while rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::DONTWAIT).is_ok() {}
        }
        match refused {
            Some(refused) => Err(refused),
            None => Ok(()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
