//! Staying with a program until it ends: its terminal is relayed to this process's own, and signals are passed on.

use std::os::fd::OwnedFd;

use anyhow::Context as _;
use berth_arch::terminal::RawMode;
use berth_backends::{ExecChild, ExitStatus, Sandbox};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{tcgetwinsize, tcsetwinsize};

/// Passed on to the program. The ones about children, terminals' stops and crashes are our own.
const PASSED_ON: &[Signal] = &[
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGCONT,
    Signal::SIGPWR,
];

/// What is stayed with.
pub(crate) trait Program {
    fn ended(&mut self) -> berth_backends::Result<Option<ExitStatus>>;
    fn signal(&self, signal: i32) -> berth_backends::Result<()>;
}

impl Program for Box<dyn Sandbox> {
    fn ended(&mut self) -> berth_backends::Result<Option<ExitStatus>> {
        self.try_wait()
    }

    fn signal(&self, signal: i32) -> berth_backends::Result<()> {
        self.as_ref().signal(signal)
    }
}

impl Program for Box<dyn ExecChild> {
    fn ended(&mut self) -> berth_backends::Result<Option<ExitStatus>> {
        self.try_wait()
    }

    fn signal(&self, signal: i32) -> berth_backends::Result<()> {
        self.as_ref().signal(signal)
    }
}

/// Signals of this process, as something to be read. Taken before the program is made, so that none is lost.
pub(crate) struct Signals(SignalFd);

impl Signals {
    pub(crate) fn take() -> anyhow::Result<Self> {
        let mut mask = SigSet::empty();
        for signal in PASSED_ON.iter().chain(&[Signal::SIGCHLD, Signal::SIGWINCH]) {
            mask.add(*signal);
        }
        mask.thread_block().context("block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self(SignalFd::with_flags(&mask, flags).context("watch signals")?))
    }

    fn next(&self) -> Option<i32> {
        self.0.read_signal().ok().flatten().and_then(|signal| i32::try_from(signal.ssi_signo).ok())
    }
}

/// Stays until `program` has ended; its exit code.
pub(crate) fn attend(program: &mut dyn Program, signals: &Signals, terminal: Option<OwnedFd>) -> anyhow::Result<u8> {
    let mut relay = terminal.map(Relay::new).transpose().context("relay the terminal")?;
    loop {
        // A signal may have come before it was looked for.
        if let Some(status) = program.ended()? {
            if let Some(relay) = &mut relay {
                relay.drain();
            }
            return Ok(u8::try_from(status.code & 0xff).unwrap_or(u8::MAX));
        }
        let mut polled = vec![PollFd::new(&signals.0, PollFlags::IN)];
        if let Some(relay) = &relay {
            relay.watch(&mut polled);
        }
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for the program"),
        }
        let ready: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
        drop(polled);
        if let Some(relay) = &mut relay {
            relay.move_on(&ready[1..]);
        }
        while let Some(signal) = signals.next() {
            match signal {
                libc::SIGCHLD => {}
                libc::SIGWINCH => relay.as_ref().map(Relay::resize).unwrap_or_default(),
                // One that has just ended is seen above.
                signal => drop(program.signal(signal)),
            }
        }
    }
}

/// Between a program's terminal and our streams. Our own terminal is raw meanwhile.
struct Relay {
    terminal: OwnedFd,
    _raw: Option<RawMode>,
    /// What was typed and not yet taken.
    typed: Vec<u8>,
    listening: bool,
    open: bool,
}

impl Relay {
    fn new(terminal: OwnedFd) -> std::io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&terminal)?;
        rustix::fs::fcntl_setfl(&terminal, flags | OFlags::NONBLOCK)?;
        let relay = Self { terminal, _raw: RawMode::enter()?, typed: Vec::new(), listening: true, open: true };
        relay.resize();
        Ok(relay)
    }

    fn resize(&self) {
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            let _ = tcsetwinsize(&self.terminal, size);
        }
    }

    /// The terminal, then standard input; their places are those of [`Relay::move_on`].
    fn watch<'a>(&'a self, polled: &mut Vec<PollFd<'a>>) {
        let writing = if self.typed.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        if self.open {
            polled.push(PollFd::new(&self.terminal, PollFlags::IN | writing));
            if self.listening && self.typed.is_empty() {
                polled.push(PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN));
            }
        }
    }

    fn move_on(&mut self, ready: &[bool]) {
        if ready.first() == Some(&true) {
            self.show();
            self.give();
        }
        if ready.get(1) == Some(&true) {
            let mut buffer = [0; 4096];
            match rustix::io::read(rustix::stdio::stdin(), &mut buffer[..]) {
                Ok(0) => {
                    // The end of a file is typed as one types it.
                    self.typed.push(4);
                    self.listening = false;
                }
                Ok(count) => self.typed.extend_from_slice(&buffer[..count]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => self.listening = false,
            }
            self.give();
        }
    }

    fn give(&mut self) {
        match rustix::io::write(&self.terminal, &self.typed) {
            Ok(count) => drop(self.typed.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.typed.clear(),
        }
    }

    /// Whether there was something.
    fn show(&mut self) -> bool {
        let mut buffer = [0; 16384];
        match rustix::io::read(&self.terminal, &mut buffer[..]) {
            Ok(count) if count > 0 => write_all(&buffer[..count]),
            Err(Errno::AGAIN | Errno::INTR) => false,
            // EIO: no program has it open any more.
            _ => {
                self.open = false;
                false
            }
        }
    }

    fn drain(&mut self) {
        while self.open && self.show() {}
    }
}

fn write_all(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::OUT)], None);
            }
            // Nobody reads any more; the program goes on.
            Err(_) => return true,
        }
    }
    true
}
