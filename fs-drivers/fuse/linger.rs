//! Waiting awake for the next request, for a moment.
//!
//! A program that works on files asks one thing after the other. To sleep in between costs more than most answers: the
//! processor that slept has to be woken, which in a virtual machine leaves the machine. So whoever has answered looks for
//! the next request a while before it sleeps, as the kernel's halt polling does. The while gets shorter as long as nothing
//! comes of it, and is zero where there is one processor, which the asking program needs.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Microseconds: a few of the kernel's wakings.
const LONGEST: u32 = 50;
const SHORTEST: u32 = 6;

/// Used by one thread at a time, which reads the requests.
#[derive(Debug)]
pub(super) struct Linger {
    device: OnceLock<OwnedFd>,
    /// How long, in microseconds. 0: it is not worth it at present.
    limit: AtomicU32,
    /// When it went to sleep at once, in microseconds since `start`; 0: it did not.
    slept: AtomicU32,
    start: Instant,
    alone: bool,
}

impl Default for Linger {
    fn default() -> Self {
        let alone = std::thread::available_parallelism().is_ok_and(|processors| processors.get() == 1);
        let limit = AtomicU32::new(if alone { 0 } else { LONGEST });
        Self { device: OnceLock::new(), limit, slept: AtomicU32::new(0), start: Instant::now(), alone }
    }
}

impl Linger {
    /// Where the requests come from.
    pub(super) fn on(&self, device: OwnedFd) {
        let _ = self.device.set(device);
    }

    /// A request has come.
    pub(super) fn begin(&self) {
        let slept = self.slept.swap(0, Ordering::Relaxed);
        if slept != 0 && self.now().wrapping_sub(slept) < LONGEST {
            self.limit.store(LONGEST, Ordering::Relaxed);
        }
    }

    /// It is answered. Returns when there is another one, or when it is time to sleep.
    pub(super) fn end(&self) {
        let Some(device) = self.device.get().filter(|_| !self.alone) else { return };
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == 0 {
            return self.slept.store(self.now().max(1), Ordering::Relaxed);
        }
        let deadline = Instant::now() + Duration::from_micros(limit.into());
        loop {
            if is_ready(device) {
                return self.limit.store(LONGEST, Ordering::Relaxed);
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        let shorter = limit / 2;
        self.limit.store(if shorter < SHORTEST { 0 } else { shorter }, Ordering::Relaxed);
    }

    /// Comes round every hour, which is of no harm.
    fn now(&self) -> u32 {
        self.start.elapsed().as_micros() as u32
    }
}

/// Also at its end, which whoever reads is told.
fn is_ready(device: &OwnedFd) -> bool {
    poll(&mut [PollFd::new(device, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_a_pipe() -> (Linger, OwnedFd) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let linger = Linger { alone: false, limit: AtomicU32::new(LONGEST), ..Linger::default() };
        linger.on(reader);
        (linger, writer)
    }

    #[test]
    fn what_comes_of_nothing_is_given_up() {
        let (linger, _writer) = on_a_pipe();
        for _ in 0..10 {
            linger.begin();
            linger.end();
        }
        assert_eq!(linger.limit.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_request_that_is_there_is_worth_the_whole_while() {
        let (linger, writer) = on_a_pipe();
        linger.limit.store(SHORTEST, Ordering::Relaxed);
        rustix::io::write(&writer, b"x").unwrap();
        linger.end();
        assert_eq!(linger.limit.load(Ordering::Relaxed), LONGEST);
    }
}
