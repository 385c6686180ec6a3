//! Owners: a thread with a poll loop, as a monitor has it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use berth_network::Protocol;
use berth_network::relay::{Limits, Relay, hold, local_port};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Something that a poll loop drives.
pub(crate) trait Driven {
    fn fd(&self) -> BorrowedFd<'_>;
    fn deadline(&self) -> Option<Instant>;
    fn turn(&mut self);
}

impl Driven for Relay {
    fn fd(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
    fn deadline(&self) -> Option<Instant> {
        Relay::deadline(self)
    }
    fn turn(&mut self) {
        Relay::turn(self).unwrap();
    }
}

type Order<T> = Box<dyn FnOnce(&mut T) + Send>;

pub(crate) struct Owner<T> {
    orders: Option<Sender<Order<T>>>,
    wake: UnixStream,
    thread: Option<JoinHandle<usize>>,
}

impl<T: Driven + 'static> Owner<T> {
    pub(crate) fn new(make: impl FnOnce() -> T + Send + 'static) -> Self {
        let (orders, inbox) = channel::<Order<T>>();
        let (wake, mut woken) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            let mut driven = make();
            let mut turns = 0;
            loop {
                let timeout = driven.deadline().map(|at| {
                    let left = at.saturating_duration_since(Instant::now());
                    Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
                });
                let mut fds =
                    [PollFd::new(&woken, PollFlags::IN), PollFd::from_borrowed_fd(driven.fd(), PollFlags::IN)];
                match poll(&mut fds, timeout.as_ref()) {
                    Err(rustix::io::Errno::INTR) => continue,
                    other => other.unwrap(),
                };
                if !fds[0].revents().is_empty() {
                    if woken.read(&mut [0; 1]).unwrap() == 0 {
                        return turns;
                    }
                    inbox.recv().unwrap()(&mut driven);
                } else {
                    turns += 1;
                    driven.turn();
                }
            }
        });
        Self { orders: Some(orders), wake, thread: Some(thread) }
    }

    /// Does something in the loop's thread, between two turns.
    pub(crate) fn order<R: Send + 'static>(&mut self, order: impl FnOnce(&mut T) -> R + Send + 'static) -> R {
        let (answer, answered) = channel();
        let order: Order<T> = Box::new(move |driven| answer.send(order(driven)).unwrap());
        self.orders.as_ref().unwrap().send(order).unwrap();
        self.wake.write_all(&[0]).unwrap();
        answered.recv().unwrap()
    }

    /// Ends the loop; how many turns there were.
    pub(crate) fn end(mut self) -> usize {
        self.wake.shutdown(std::net::Shutdown::Both).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl<T> Drop for Owner<T> {
    fn drop(&mut self) {
        let _ = self.wake.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the loop has ended");
        }
    }
}

pub(crate) fn relay() -> Owner<Relay> {
    Owner::new(|| Relay::new().unwrap())
}

pub(crate) fn relay_with(limits: Limits) -> Owner<Relay> {
    Owner::new(move || Relay::with_limits(limits).unwrap())
}

/// A relay with one port on 127.0.0.1, and where that is.
pub(crate) fn publish(owner: &mut Owner<Relay>, protocol: Protocol, target: SocketAddr) -> SocketAddr {
    let socket = hold(protocol, "127.0.0.1:0".parse().unwrap()).unwrap();
    let port = local_port(&socket).unwrap();
    owner.order(move |relay| relay.add(protocol, socket, Some(target)).unwrap());
    SocketAddr::from(([127, 0, 0, 1], port))
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Closes with RST.
pub(crate) fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream.as_fd(), Some(Duration::ZERO)).unwrap();
}

/// Waits until it holds, but not for ever.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The same numbers each time: xorshift64*.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        (self.next() >> 32) as usize % most
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}
