//! Connected clients: requests in, answers out, and frames both ways.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::SendFlags;
use serde::Serialize;

use super::Monitor;
use super::delivery::pump;
use super::detach::DetachKeys;
use super::output::Output;
use super::streams::StreamsId;
use crate::frame::{self, Decoder};
use crate::protocol::{
    FromClient, FromMonitor, MAX_FRAME, Refusal, RefusalKind, Request, Response, WaitCondition, frame as kinds,
};

/// A request's line; executions carry whole environments.
const MAX_REQUEST: usize = 4 << 20;
/// A control frame from a client.
const MAX_CONTROL: usize = 1024;

#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: UnixStream,
    /// Sent before anything else.
    pub(super) out: Vec<u8>,
    sent: usize,
    pub(super) mode: Mode,
    /// Ends as soon as `out` is sent.
    closing: bool,
    pub(super) gone: bool,
    /// No more comes from it.
    pub(super) read_closed: bool,
    /// Its end is closed both ways; what it sent before may still be there to be read.
    pub(super) hung_up: bool,
}

#[derive(Debug)]
pub(super) enum Mode {
    /// The request's line, as far as it has come.
    Request(Vec<u8>),
    Attached(Box<Attached>),
    Waiting {
        condition: WaitCondition,
        removes: bool,
    },
    Stopping,
    Answered,
    /// Keeps the container paused; that ends with the connection.
    Holding,
    /// Has been told of the end and removes the container; the connection lasts until that is done.
    Removing,
}

/// A client on a program's streams.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) streams: StreamsId,
    pub(super) execution: Option<String>,
    pub(super) stdin: bool,
    /// Standard output, standard error.
    pub(super) wants: [bool; 2],
    detach: Option<DetachKeys>,
    pub(super) place: u64,
    /// Where its output ends, and the program's exit code.
    pub(super) end: Option<(u64, i32)>,
    /// Follows what has been sent.
    pub(super) boundary: Decoder,
    received: Decoder,
    control: Vec<u8>,
    /// When it last took something, or had everything.
    pub(super) progress: Instant,
}

impl Attached {
    pub(super) fn new(
        streams: StreamsId,
        execution: Option<String>,
        (stdin, stdout, stderr): (bool, bool, bool),
        detach: Option<DetachKeys>,
        place: u64,
    ) -> Self {
        Self {
            streams,
            execution,
            stdin,
            wants: [stdout, stderr],
            detach,
            place,
            end: None,
            boundary: Decoder::default(),
            received: Decoder::default(),
            control: Vec::new(),
            progress: Instant::now(),
        }
    }

    pub(super) fn wants(&self, kind: u8) -> bool {
        match kind {
            kinds::STDERR => self.wants[1],
            _ => self.wants[0],
        }
    }
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            out: Vec::new(),
            sent: 0,
            mode: Mode::Request(Vec::new()),
            closing: false,
            gone: false,
            read_closed: false,
            hung_up: false,
        }
    }

    pub(super) fn reads(&self, id: StreamsId) -> bool {
        matches!(&self.mode, Mode::Attached(attached) if attached.streams == id)
    }

    fn attached(&mut self) -> Option<&mut Attached> {
        match &mut self.mode {
            Mode::Attached(attached) => Some(attached),
            _ => None,
        }
    }

    /// Queues an answer's line.
    pub(super) fn answer(&mut self, response: &Response) {
        if let Ok(line) = serde_json::to_vec(response) {
            self.out.extend_from_slice(&line);
            self.out.push(b'\n');
        }
        if !matches!(self.mode, Mode::Attached(_)) {
            self.mode = Mode::Answered;
            self.closing = true;
        }
    }

    /// After the answer: the connection stays, so that the client's death is heard of.
    pub(super) fn keep(&mut self, mode: Mode) {
        self.mode = mode;
        self.closing = false;
        self.gone = self.hung_up;
    }

    /// Ends the connection with a control frame, after the frame that is being sent.
    pub(super) fn dismiss<T: Serialize>(&mut self, message: &T, rest_of_frame: &[u8]) {
        self.out.extend_from_slice(rest_of_frame);
        self.out.extend_from_slice(&frame::control(message));
        self.mode = Mode::Answered;
        self.closing = true;
    }

    /// Sends what is queued for this client alone. True when all of it is sent.
    fn send_queued(&mut self) -> bool {
        while self.sent < self.out.len() {
            match send(&self.stream, &self.out[self.sent..]) {
                Ok(0) => return false,
                Ok(sent) => self.sent += sent,
                Err(_) => {
                    self.gone = true;
                    return false;
                }
            }
        }
        self.out = Vec::new();
        self.sent = 0;
        if self.closing && !matches!(self.mode, Mode::Attached(_)) {
            self.gone = true;
        }
        true
    }

    /// Whether there is something to send, as far as its own queue goes; see [`Monitor::wants_room`].
    pub(super) fn has_queued(&self) -> bool {
        self.sent < self.out.len()
    }

    /// Sends what the program has written. Returns whether it moved.
    fn send_output(&mut self, output: &Output, scratch: &mut [u8]) -> bool {
        if self.gone || !self.send_queued() {
            return false;
        }
        let Self { stream, mode: Mode::Attached(attached), .. } = self else { return false };
        let before = attached.place;
        let outcome = pump(stream, attached, output, scratch);
        let moved = attached.place != before;
        let finished = attached.end.filter(|&(end, _)| attached.place >= end);
        if moved || attached.place == output.end() {
            attached.progress = Instant::now();
        }
        match (outcome, finished) {
            (Err(_), _) => self.gone = true,
            (Ok(()), Some((_, code))) => {
                self.dismiss(&FromMonitor::Exited { code }, &[]);
                self.send_queued();
            }
            (Ok(()), None) => {}
        }
        moved || self.gone
    }
}

/// 0: no room.
pub(super) fn send(stream: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match rustix::io::retry_on_intr(|| rustix::net::send(stream, bytes, flags)) {
        Ok(sent) => Ok(sent),
        Err(Errno::AGAIN) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

impl Monitor {
    /// Takes a new connection, if whoever has it may.
    pub(super) fn admit(&mut self, stream: UnixStream) {
        let own = rustix::process::geteuid();
        let allowed =
            rustix::net::sockopt::socket_peercred(&stream).is_ok_and(|peer| peer.uid.is_root() || peer.uid == own);
        if allowed && stream.set_nonblocking(true).is_ok() {
            self.clients.push(Client::new(stream));
            self.read_client(self.clients.len() - 1);
        }
    }

    /// Whether input from this client would find room.
    pub(super) fn takes_input(&self, client: &Client) -> bool {
        match &client.mode {
            Mode::Attached(attached) if attached.stdin => !self
                .streams
                .iter()
                .any(|streams| streams.id == attached.streams && streams.input.blocked_on().is_some()),
            _ => true,
        }
    }

    /// Whether there is something that the client has not got.
    pub(super) fn wants_room(&self, client: &Client) -> bool {
        client.has_queued()
            || match &client.mode {
                Mode::Attached(attached) => self
                    .streams
                    .iter()
                    .any(|streams| streams.id == attached.streams && attached.place < streams.output.end()),
                _ => false,
            }
    }

    /// Something has come from a client, or its end.
    pub(super) fn read_client(&mut self, index: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let length = match rustix::io::retry_on_intr(|| rustix::io::read(&self.clients[index].stream, &mut buffer[..]))
        {
            Ok(0) => {
                self.end_of_client_input(index);
                0
            }
            Ok(length) => length,
            Err(Errno::AGAIN) => 0,
            Err(_) => {
                self.end_of_client_input(index);
                self.clients[index].gone = true;
                0
            }
        };
        let mut input = &buffer[..length];
        if !input.is_empty() && matches!(self.clients[index].mode, Mode::Request(_)) {
            input = self.read_request(index, input);
        }
        if !input.is_empty() && matches!(self.clients[index].mode, Mode::Attached(_)) {
            self.read_frames(index, input);
        }
        self.buffer = buffer;
    }

    fn read_request<'a>(&mut self, index: usize, input: &'a [u8]) -> &'a [u8] {
        let client = &mut self.clients[index];
        let Mode::Request(line) = &mut client.mode else { return input };
        let end = memchr::memchr(b'\n', input);
        line.extend_from_slice(&input[..end.unwrap_or(input.len())]);
        if line.len() > MAX_REQUEST {
            let message = format!("request of more than {MAX_REQUEST} bytes");
            client.answer(&Response::Refused(Refusal { kind: RefusalKind::InvalidArgument, message }));
            return &[];
        }
        let Some(end) = end else { return &[] };
        let line = std::mem::take(line);
        match serde_json::from_slice::<Request>(&line) {
            Ok(request) => self.carry_out(index, request),
            Err(error) => {
                let message = format!("understand the request: {error}");
                client.answer(&Response::Refused(Refusal { kind: RefusalKind::InvalidArgument, message }));
            }
        }
        &input[end + 1..]
    }

    fn read_frames(&mut self, index: usize, mut input: &[u8]) {
        let client = &mut self.clients[index];
        let Mode::Attached(attached) = &mut client.mode else { return };
        let mut streams = self.streams.iter_mut().find(|streams| streams.id == attached.streams);
        loop {
            let piece = match attached.received.next(&mut input) {
                Ok(Some(piece)) => piece,
                Ok(None) => return,
                Err(frame::TooLong) => {
                    client.gone = true;
                    return;
                }
            };
            match piece.kind {
                kinds::STDIN if piece.empty => return self.end_of_client_input(index),
                kinds::STDIN if attached.stdin => {
                    let Some(streams) = &mut streams else { continue };
                    match attached.detach.as_mut().filter(|_| streams.terminal.is_some()) {
                        Some(keys) => {
                            let mut typed = Vec::new();
                            let detached = keys.filter(piece.bytes, &mut typed);
                            streams.input.push(&typed);
                            if detached {
                                return self.detach(index);
                            }
                        }
                        None => streams.input.push(piece.bytes),
                    }
                }
                kinds::CONTROL => {
                    if attached.control.len() + piece.bytes.len() > MAX_CONTROL {
                        client.gone = true;
                        return;
                    }
                    attached.control.extend_from_slice(piece.bytes);
                    if piece.last {
                        let message = serde_json::from_slice(&std::mem::take(&mut attached.control));
                        if let (Ok(FromClient::Resize { columns, rows }), Some(streams)) = (message, &streams) {
                            let _ = streams.resize(columns, rows);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// As Docker: input that ends closes the program's, where it is for one client only; elsewhere the client's
    /// connection ends with its input, when it has got what there is.
    pub(super) fn end_of_client_input(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.read_closed {
            return;
        }
        client.read_closed = true;
        match &mut client.mode {
            Mode::Attached(attached) if attached.stdin => {
                attached.stdin = false;
                let id = attached.streams;
                if let Some(streams) = self.streams.iter_mut().find(|streams| streams.id == id) {
                    streams.end_of_input();
                    if !streams.once || streams.terminal.is_some() {
                        client.closing = true;
                    }
                }
            }
            Mode::Request(_) => client.gone = true,
            _ => {}
        }
    }

    fn detach(&mut self, index: usize) {
        let rest = self.rest_of_frame(index);
        let client = &mut self.clients[index];
        let execution = client.attached().and_then(|attached| attached.execution.take());
        client.dismiss(&FromMonitor::Detached, &rest);
        client.send_queued();
        match execution {
            Some(id) => self.event("exec_detach", &[("execID", id)]),
            None => self.event("detach", &[]),
        }
    }

    /// What is missing of the frame that a client is getting, so that another can follow.
    pub(super) fn rest_of_frame(&mut self, index: usize) -> Vec<u8> {
        let mut rest = Vec::new();
        let Mode::Attached(attached) = &mut self.clients[index].mode else { return rest };
        let Some(streams) = self.streams.iter().find(|streams| streams.id == attached.streams) else { return rest };
        let mut scratch = vec![0; MAX_FRAME];
        loop {
            let missing = attached.boundary.until_boundary();
            if missing == 0 {
                return rest;
            }
            let Ok(bytes) = streams.output.peek(attached.place, &mut scratch) else { return rest };
            let bytes = &bytes[..bytes.len().min(missing)];
            if bytes.is_empty() {
                return rest;
            }
            attached.boundary.skip(bytes);
            attached.place += bytes.len() as u64;
            rest.extend_from_slice(bytes);
        }
    }

    /// There is room in a client's socket.
    pub(super) fn write_client(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Mode::Attached(attached) = &client.mode else {
            client.send_queued();
            return;
        };
        let id = attached.streams;
        let mut scratch = std::mem::take(&mut self.buffer);
        let streams = self.streams.iter().find(|streams| streams.id == id);
        let moved = streams.is_some_and(|streams| client.send_output(&streams.output, &mut scratch));
        self.buffer = scratch;
        if moved {
            self.clients_moved(id);
        }
    }

    /// Forgets the clients that are gone.
    pub(super) fn drop_clients(&mut self) {
        for index in (0..self.clients.len()).rev() {
            let client = &self.clients[index];
            let at_end = client.closing && !self.wants_room(client);
            if client.gone || at_end {
                self.end_of_client_input(index);
                let client = self.clients.swap_remove(index);
                match client.mode {
                    Mode::Attached(attached) => self.clients_moved(attached.streams),
                    Mode::Holding => self.thaw(),
                    _ => {}
                }
            }
        }
    }
}
