//! A question on its way to other servers: one after the other, each for a limited time, from a socket of its own, so
//! that its number and its port are both hard to guess. What came as a datagram goes on as one, and a stream likewise.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::message::{self, Query};
use super::{Asker, LARGEST};

/// For each server.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Forward {
    pub query: Query,
    pub asker: Asker,
    pub until: Instant,
    bytes: Vec<u8>,
    /// Those not asked yet, the next one last.
    servers: Vec<SocketAddr>,
    id: u16,
    socket: Option<Socket>,
    /// What a server said that had failed itself, should no other one know better.
    pub fallback: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Socket {
    Datagram(UdpSocket),
    Stream { socket: TcpStream, out: Vec<u8>, answer: Vec<u8> },
}

pub(super) enum Step {
    /// Nothing yet; what to wait for, if that has changed.
    Wait(Option<EventFlags>),
    Answer(Vec<u8>),
    /// This server does not answer.
    Failed,
}

impl Forward {
    pub(super) fn new(query: Query, bytes: &[u8], asker: Asker, mut servers: Vec<SocketAddr>) -> Self {
        servers.reverse();
        Self {
            query,
            asker,
            until: Instant::now(),
            bytes: bytes.to_vec(),
            servers,
            id: 0,
            socket: None,
            fallback: None,
        }
    }

    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(|socket| match socket {
            Socket::Datagram(socket) => socket.as_fd(),
            Socket::Stream { socket, .. } => socket.as_fd(),
        })
    }

    /// Asks the next server that can be asked.
    pub(super) fn next(&mut self, id: u16, now: Instant) -> Option<(BorrowedFd<'_>, EventFlags)> {
        self.socket = None;
        self.id = id;
        self.until = now + PATIENCE;
        let mut question = self.bytes.clone();
        message::set_id(&mut question, id);
        while let Some(server) = self.servers.pop() {
            let opened = match self.asker {
                Asker::Datagram(_) => datagram(server, &question).map(|socket| (socket, EventFlags::IN)),
                Asker::Stream(_) => stream(server, &question).map(|socket| (socket, EventFlags::OUT)),
            };
            if let Ok((socket, flags)) = opened {
                self.socket = Some(socket);
                return self.socket().map(|socket| (socket, flags));
            }
        }
        None
    }

    pub(super) fn go_on(&mut self, buffer: &mut [u8]) -> Step {
        let received = match &mut self.socket {
            None => return Step::Failed,
            Some(Socket::Datagram(socket)) => match socket.recv(buffer) {
                Ok(length) => buffer[..length].to_vec(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Wait(None),
                Err(_) => return Step::Failed,
            },
            Some(Socket::Stream { socket, out, answer }) => match go_on_stream(socket, out, answer) {
                Ok(received) => received,
                Err(step) => return step,
            },
        };
        let mut received = received;
        if !self.query.is_answered_by(self.id, &received) {
            // Not what was asked: somebody guesses. The true answer may still come.
            return Step::Wait(None);
        }
        message::set_id(&mut received, self.query.id);
        if message::has_failed(&received) && !self.servers.is_empty() {
            self.fallback = Some(received);
            return Step::Failed;
        }
        Step::Answer(received)
    }
}

fn datagram(server: SocketAddr, question: &[u8]) -> std::io::Result<Socket> {
    let any: SocketAddr = if server.is_ipv6() { ([0u16; 8], 0).into() } else { ([0u8; 4], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    // Answers of others do not arrive.
    socket.connect(server)?;
    socket.send(question)?;
    Ok(Socket::Datagram(socket))
}

fn stream(server: SocketAddr, question: &[u8]) -> std::io::Result<Socket> {
    let family = if server.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
    let out = [&length.to_be_bytes()[..], question].concat();
    Ok(Socket::Stream { socket: socket.into(), out, answer: Vec::new() })
}

fn go_on_stream(socket: &mut TcpStream, out: &mut Vec<u8>, answer: &mut Vec<u8>) -> Result<Vec<u8>, Step> {
    while !out.is_empty() {
        match socket.write(out) {
            Ok(0) => return Err(Step::Failed),
            Ok(length) => drop(out.drain(..length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(Step::Wait(Some(EventFlags::OUT))),
            Err(error) if error.kind() == ErrorKind::NotConnected => return Err(Step::Wait(Some(EventFlags::OUT))),
            Err(_) => return Err(Step::Failed),
        }
    }
    let mut buffer = [0; 4096];
    loop {
        if let Some(length) = answer.first_chunk().map(|bytes| usize::from(u16::from_be_bytes(*bytes)))
            && answer.len() >= 2 + length
        {
            return Ok(answer[2..2 + length].to_vec());
        }
        match socket.read(&mut buffer) {
            Ok(0) => return Err(Step::Failed),
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(Step::Wait(Some(EventFlags::IN))),
            Err(_) => return Err(Step::Failed),
        }
        if answer.len() > 2 + LARGEST {
            return Err(Step::Failed);
        }
    }
}
