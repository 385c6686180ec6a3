//! What programs write, to the clients that want it.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::io::Errno;

use super::clients::{Attached, Client, Mode, send};
use super::output::Output;
use super::streams::StreamsId;
use super::{Monitor, PATIENCE};
use crate::frame;
use crate::protocol::FromMonitor;

/// Sends frames from the client's place on, until it takes no more or has everything.
pub(super) fn pump(
    stream: &UnixStream,
    attached: &mut Attached,
    output: &Output,
    scratch: &mut [u8],
) -> io::Result<()> {
    let all = attached.wants == [true, true];
    while attached.place < output.end() {
        let mut limit = usize::MAX;
        if !all {
            limit = attached.boundary.until_boundary();
            if limit == 0 {
                let Some((kind, length)) = output.header(attached.place)? else { return Ok(()) };
                limit = frame::HEADER + length;
                if !attached.wants(kind) {
                    attached.place += limit as u64;
                    continue;
                }
            }
        }
        let bytes = output.peek(attached.place, scratch)?;
        let bytes = &bytes[..bytes.len().min(limit)];
        let sent = send(stream, bytes)?;
        attached.boundary.skip(&bytes[..sent]);
        attached.place += sent as u64;
        if sent < bytes.len() {
            return Ok(());
        }
    }
    Ok(())
}

impl Monitor {
    /// The place of the client that has got least of a stream.
    fn slowest(clients: &[Client], id: StreamsId) -> Option<u64> {
        let places = clients.iter().filter(|client| !client.gone).filter_map(|client| match &client.mode {
            Mode::Attached(attached) if attached.streams == id => Some(attached.place),
            _ => None,
        });
        places.min()
    }

    /// Gives back what every client has got.
    pub(super) fn clients_moved(&mut self, id: StreamsId) {
        let slowest = Self::slowest(&self.clients, id);
        if let Some(streams) = self.streams.iter_mut().find(|streams| streams.id == id) {
            streams.output.moved(slowest.unwrap_or(u64::MAX));
        }
    }

    /// Hands what a program has written to its clients. Those that keep up get it from where it was read to.
    pub(super) fn broadcast(&mut self, id: StreamsId, kind: u8, payload: &[u8]) {
        let Some(streams) = self.streams.iter_mut().find(|streams| streams.id == id) else { return };
        let output = &mut streams.output;
        let (start, total) = (output.end(), frame::HEADER + payload.len());
        let mut slowest = None;
        for client in self.clients.iter_mut().filter(|client| !client.gone) {
            let ready = client.out.is_empty();
            let Mode::Attached(attached) = &mut client.mode else { continue };
            if attached.streams != id {
                continue;
            }
            if attached.place == start && ready {
                match send_frame(&client.stream, kind, payload, attached) {
                    Ok(()) => attached.progress = Instant::now(),
                    Err(_) => {
                        client.gone = true;
                        continue;
                    }
                }
            }
            slowest = Some(slowest.map_or(attached.place, |least: u64| least.min(attached.place)));
        }
        match slowest {
            Some(slowest) if slowest < start + total as u64 => output.keep(kind, payload, slowest),
            _ => {
                output.moved(u64::MAX);
                output.pass(total);
            }
        }
    }

    /// A program has ended and its streams are read: its clients get the rest, and the exit code.
    pub(super) fn end_streams(&mut self, id: StreamsId, code: i32) {
        let Some(streams) = self.streams.iter_mut().find(|streams| streams.id == id) else { return };
        streams.end();
        let end = streams.output.end();
        for index in 0..self.clients.len() {
            if let Mode::Attached(attached) = &mut self.clients[index].mode
                && attached.streams == id
            {
                attached.end = Some((end, code));
                self.write_client(index);
            }
        }
    }

    /// Until when the streams that are full wait for their clients.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        let full = |id| self.streams.iter().any(|streams| streams.id == id && streams.output.is_full());
        let deadlines = self.clients.iter().filter_map(|client| match &client.mode {
            Mode::Attached(attached) if full(attached.streams) && self.wants_room(client) => {
                Some(attached.progress + PATIENCE)
            }
            _ => None,
        });
        deadlines.min()
    }

    /// Gives up the clients that hold up a full stream and take nothing.
    pub(super) fn end_overrun_clients(&mut self, now: Instant) {
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            let Mode::Attached(attached) = &client.mode else { continue };
            let (id, late) = (attached.streams, now >= attached.progress + PATIENCE);
            let full = self.streams.iter().any(|streams| streams.id == id && streams.output.is_full());
            if full && late && self.wants_room(client) {
                self.end_of_client_input(index);
                let rest = self.rest_of_frame(index);
                self.clients[index].dismiss(&FromMonitor::Overrun, &rest);
                self.clients_moved(id);
            }
        }
    }
}

/// Sends a new frame to a client that has everything before it; its place moves by what it takes.
fn send_frame(stream: &UnixStream, kind: u8, payload: &[u8], attached: &mut Attached) -> io::Result<()> {
    let header = frame::header(kind, payload.len());
    let total = header.len() + payload.len();
    if !attached.wants(kind) {
        attached.place += total as u64;
        return Ok(());
    }
    let parts = [io::IoSlice::new(&header), io::IoSlice::new(payload)];
    let sent = match rustix::io::retry_on_intr(|| rustix::io::writev(stream, &parts)) {
        Ok(sent) => sent,
        Err(Errno::AGAIN) => 0,
        Err(error) => return Err(error.into()),
    };
    attached.boundary.skip(&header[..sent.min(header.len())]);
    attached.boundary.skip(&payload[..sent.saturating_sub(header.len())]);
    attached.place += sent as u64;
    Ok(())
}
