//! What answers a container's questions for names at 127.0.0.11: names of its networks from the networks' folders, the
//! rest by asking the host's name servers. One epoll descriptor, driven by its owner's poll loop.
//!
//! `message.rs` is the format, `forward.rs` a question on its way to other servers, `stream.rs` an asker over TCP.
//! Names without an answer are somebody else's: they are forwarded; without servers they fail (SERVFAIL, as Docker's do).

mod forward;
mod listen;
mod message;
mod stream;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll;

use self::forward::{Forward, Step};
use self::message::{Parsed, Query, SERVER_FAILURE};
use self::stream::Stream;
use crate::names::Names;
use crate::plan;

pub use self::listen::{Sockets, listen};

/// Questions that are on their way at once; of more, the oldest fails.
const FORWARDS: usize = 1024;
/// Askers over TCP at once; more have to wait.
const STREAMS: usize = 64;
/// Datagrams in a row, before others have their turn.
const TURN: usize = 64;
/// The largest message over TCP.
const LARGEST: usize = 65535;

const UDP: u64 = 0;
const TCP: u64 = 1;
const FIRST: u64 = 2;

#[derive(Debug)]
pub struct Resolver {
    config: plan::Resolver,
    epoll: OwnedFd,
    udp: UdpSocket,
    tcp: TcpListener,
    forwards: HashMap<u64, Forward>,
    streams: HashMap<u64, Stream>,
    next: u64,
    /// No descriptors were left for another asker: until then, nobody is let in.
    rests_until: Option<Instant>,
    buffer: Vec<u8>,
}

/// Who wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    Datagram(SocketAddr),
    Stream(u64),
}

/// A number that nobody can guess: the standard library seeds its hashers from the kernel.
fn random() -> u16 {
    RandomState::new().build_hasher().finish() as u16
}

impl Resolver {
    /// `udp` and `tcp` (which listens) are sockets in the container's network namespace.
    pub fn new(config: plan::Resolver, udp: OwnedFd, tcp: OwnedFd) -> io::Result<Self> {
        let (udp, tcp) = (UdpSocket::from(udp), TcpListener::from(tcp));
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let event = |data| (epoll::EventData::new_u64(data), epoll::EventFlags::IN);
        let (data, flags) = event(UDP);
        epoll::add(&epoll, &udp, data, flags)?;
        let (data, flags) = event(TCP);
        epoll::add(&epoll, &tcp, data, flags)?;
        Ok(Self {
            config,
            epoll,
            udp,
            tcp,
            forwards: HashMap::new(),
            streams: HashMap::new(),
            next: FIRST,
            rests_until: None,
            buffer: vec![0; 4096],
        })
    }

    /// The container's networks have changed.
    pub fn update(&mut self, config: plan::Resolver) {
        self.config = config;
    }

    /// Readable when there is something to do.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// When [`Resolver::turn`] is to be called though nothing is readable.
    pub fn deadline(&self) -> Option<Instant> {
        let forwards = self.forwards.values().map(|forward| forward.until);
        let streams = self.streams.values().map(|stream| stream.until);
        forwards.chain(streams).chain(self.rests_until).min()
    }

    /// Does what is ready. An error is the epoll descriptor's own; everything else ends one question at most.
    pub fn turn(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(32);
        let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::io::retry_on_intr(|| {
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&none))
        })?;
        for event in events {
            match event.data.u64() {
                UDP => self.datagrams(),
                TCP => self.accept(),
                key if self.streams.contains_key(&key) => self.attend_stream(key),
                key => self.attend_forward(key),
            }
        }
        self.expire(Instant::now());
        Ok(())
    }

    fn datagrams(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..TURN {
            match self.udp.recv_from(&mut buffer) {
                Ok((length, from)) => self.asked(&buffer[..length], Asker::Datagram(from)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What an earlier answer ran into.
                Err(_) => {}
            }
        }
        self.buffer = buffer;
    }

    fn asked(&mut self, bytes: &[u8], asker: Asker) {
        let query = match message::parse(bytes) {
            Parsed::Query(query) => query,
            Parsed::Answer(answer) => return self.reply(asker, &answer),
            Parsed::Nothing => return,
        };
        let room = if matches!(asker, Asker::Datagram(_)) { query.room() } else { LARGEST };
        match self.own(&query, room) {
            Some(answer) => self.reply(asker, &answer),
            None => self.forward(query, bytes, asker),
        }
    }

    /// The answer, if it is about something of the container's networks.
    fn own(&self, query: &Query, room: usize) -> Option<Vec<u8>> {
        if let Some(address) = query.reversed() {
            let found = self.config.networks.iter().find_map(|(network, folder)| {
                Names::new(folder).reverse(address).map(|name| format!("{name}.{network}"))
            });
            return found.map(|name| query.pointer(&name, room));
        }
        let name = query.name.as_deref().filter(|name| !name.is_empty())?;
        let addresses = self.find(name)?;
        Some(query.addresses(&addresses, room))
    }

    fn find(&self, name: &str) -> Option<Vec<IpAddr>> {
        let link = self.config.links.iter().find(|(alias, _)| alias == name);
        let name = link.map_or(name, |(_, other)| other);
        for (network, folder) in &self.config.networks {
            let names = Names::new(folder);
            let qualified = name.strip_suffix(network.to_ascii_lowercase().as_str());
            let short = qualified.and_then(|rest| rest.strip_suffix('.'));
            for candidate in [Some(name), short].into_iter().flatten() {
                let found = names.lookup(candidate);
                if !found.is_empty() {
                    return Some(found);
                }
            }
        }
        None
    }

    fn forward(&mut self, query: Query, bytes: &[u8], asker: Asker) {
        if self.config.servers.is_empty() {
            return self.reply(asker, &query.failure(SERVER_FAILURE));
        }
        if self.forwards.len() >= FORWARDS
            && let Some(oldest) = self.forwards.iter().min_by_key(|(_, forward)| forward.until).map(|(key, _)| *key)
        {
            self.give_up(oldest);
        }
        let key = self.next;
        self.next += 1;
        let forward = Forward::new(query, bytes, asker, self.config.servers.clone());
        self.forwards.insert(key, forward);
        self.try_next(key);
    }

    /// Asks the next server, or says that there is none.
    fn try_next(&mut self, key: u64) {
        let Some(forward) = self.forwards.get_mut(&key) else { return };
        match forward.next(random(), Instant::now()) {
            Some((socket, flags)) => {
                let added = epoll::add(&self.epoll, socket, epoll::EventData::new_u64(key), flags);
                if added.is_err() {
                    self.give_up(key);
                }
            }
            None => self.give_up(key),
        }
    }

    fn give_up(&mut self, key: u64) {
        if let Some(forward) = self.forwards.remove(&key) {
            let answer = forward.fallback.unwrap_or_else(|| forward.query.failure(SERVER_FAILURE));
            self.reply(forward.asker, &answer);
        }
    }

    fn attend_forward(&mut self, key: u64) {
        let Some(forward) = self.forwards.get_mut(&key) else { return };
        match forward.go_on(&mut self.buffer) {
            Step::Wait(None) => {}
            Step::Wait(Some(flags)) => {
                if let Some(socket) = forward.socket() {
                    let _ = epoll::modify(&self.epoll, socket, epoll::EventData::new_u64(key), flags);
                }
            }
            Step::Answer(answer) => {
                if let Some(forward) = self.forwards.remove(&key) {
                    self.reply(forward.asker, &answer);
                }
            }
            Step::Failed => self.try_next(key),
        }
    }

    fn reply(&mut self, asker: Asker, answer: &[u8]) {
        match asker {
            Asker::Datagram(to) => drop(self.udp.send_to(answer, to)),
            Asker::Stream(key) => {
                let Some(stream) = self.streams.get_mut(&key) else { return };
                // Sent when the socket is looked at next: an answer may be one of many in a row.
                stream.answer(answer);
                let data = epoll::EventData::new_u64(key);
                let _ = epoll::modify(&self.epoll, stream.socket(), data, stream.interest());
            }
        }
    }

    fn accept(&mut self) {
        if self.streams.len() >= STREAMS || self.rests_until.is_some() {
            // They wait in the kernel's queue, and are looked at when somebody has gone.
            return self.rest();
        }
        match self.tcp.accept() {
            Ok((socket, _)) => {
                let key = self.next;
                self.next += 1;
                let data = epoll::EventData::new_u64(key);
                if socket.set_nonblocking(true).is_ok()
                    && epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN).is_ok()
                {
                    self.streams.insert(key, Stream::new(socket));
                }
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => self.rest(),
            Err(_) => {}
        }
    }

    /// Nobody is let in for a while; the listener would be readable all the time.
    fn rest(&mut self) {
        let data = epoll::EventData::new_u64(TCP);
        let _ = epoll::modify(&self.epoll, &self.tcp, data, epoll::EventFlags::empty());
        self.rests_until = Some(Instant::now() + Duration::from_millis(200));
    }

    fn attend_stream(&mut self, key: u64) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let (questions, alive) = stream.turn();
        for question in questions {
            self.asked(&question, Asker::Stream(key));
        }
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let awaited = self.forwards.values().any(|forward| forward.asker == Asker::Stream(key));
        if !alive || stream.is_done() && !awaited {
            self.streams.remove(&key);
            return;
        }
        let _ = epoll::modify(&self.epoll, stream.socket(), epoll::EventData::new_u64(key), stream.interest());
    }

    fn expire(&mut self, now: Instant) {
        let late: Vec<u64> =
            self.forwards.iter().filter(|(_, forward)| now >= forward.until).map(|(key, _)| *key).collect();
        late.into_iter().for_each(|key| self.try_next(key));
        self.streams.retain(|_, stream| now < stream.until);
        if self.rests_until.is_some_and(|until| now >= until) {
            self.rests_until = None;
            let data = epoll::EventData::new_u64(TCP);
            let _ = epoll::modify(&self.epoll, &self.tcp, data, epoll::EventFlags::IN);
        }
    }
}
