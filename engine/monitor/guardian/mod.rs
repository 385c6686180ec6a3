//! The monitor itself: one process, one thread, one poll loop (`turn.rs`).
//!
//! `birth.rs` makes the process a monitor, `launch.rs` starts the container (also again, with `checkpoint.rs` from files), `ending.rs` is everything
//! from its exit to the monitor's own. `requests.rs` and `executions.rs` do what clients ask for, `clients.rs` and
//! `delivery.rs` move their bytes, `streams.rs` and its neighbours the program's. Errors of one client end that client and nothing else.

mod birth;
mod checkpoint;
mod clients;
mod delivery;
mod detach;
mod ending;
mod events;
mod executions;
mod input;
mod launch;
mod log;
mod network;
mod output;
mod own;
mod requests;
mod restart;
mod spool;
mod streams;
mod turn;
mod volumes;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use berth_backends::{AnyBackend, ExitStatus, MemoryWatch, Sandbox};
use nix::sys::signalfd::SignalFd;

pub use self::birth::{main, main_with};
use self::clients::Client;
use self::executions::Execution;
use self::log::Log;
use self::network::Networks;
use self::own::Own;
use self::restart::BackOff;
use self::streams::{Streams, StreamsId};
use crate::config::MonitorConfig;
use crate::files::{self, Lock};
use crate::state::State;

/// How long a program's streams are read after its end while somebody else still holds their other ends, as Docker
/// does; what comes later is lost.
pub(crate) const GRACE: Duration = Duration::from_secs(2);
/// How long a client that takes nothing may hold up a stream that has no room left, in memory or on disk.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long after SIGKILL a stop is given up. The container is still watched.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Of the one buffer through which everything is read.
const BUFFER: usize = 64 * 1024;

pub(crate) struct Monitor {
    config: MonitorConfig,
    backend: AnyBackend,
    state: State,
    sandbox: Option<Box<dyn Sandbox>>,
    run: Run,
    /// The streams of the container's present or last run.
    main_streams: StreamsId,
    streams: Vec<Streams>,
    next_streams: u64,
    executions: Vec<Execution>,
    clients: Vec<Client>,
    log: Log,
    stop: Option<Stop>,
    /// The host is going down: no restarts, but nobody has stopped the container for good.
    shutting_down: bool,
    back_off: BackOff,
    /// A terminal that nobody has open; it is looked at again then.
    idle_terminal_until: Option<Instant>,
    listener: Option<UnixListener>,
    /// No descriptors left: no new clients until then.
    listener_rests_until: Option<Instant>,
    lock: Option<Lock>,
    signals: SignalFd,
    buffer: Vec<u8>,
    own: Own,
    /// Of a running container with a limit.
    memory: Memory,
    networks: Networks,
}

/// Hearing of a want of memory.
enum Memory {
    /// There is no limit to run into, or no way to hear of it.
    Unwatched,
    /// The container runs, and whoever started it is told first.
    ToBeWatched,
    Watched(MemoryWatch),
}

/// Where the container is between two calls of [`Monitor::launch`].
#[derive(Debug, Clone, Copy)]
enum Run {
    /// Before the first start.
    Fresh,
    Running {
        since: Instant,
    },
    /// Its init has ended; its last output is read until then.
    Draining {
        since: Instant,
        until: Instant,
        ended: ExitStatus,
    },
    /// Restarted at that time.
    Waiting {
        until: Instant,
    },
    /// For good.
    Over,
}

/// A stop on its way.
#[derive(Debug)]
struct Stop {
    /// When SIGKILL follows; `None`: never.
    kill_at: Option<Instant>,
    /// SIGKILL was sent; when whoever waits is told that it did not help.
    give_up_at: Option<Instant>,
    /// A client asked for it: there is a `stop` event at the end.
    announced: bool,
}

impl Monitor {
    fn is_running(&self) -> bool {
        matches!(self.run, Run::Running { .. })
    }

    fn save_state(&mut self) {
        if let Err(error) = files::write_json(&self.config.state, &self.state) {
            // The engine sees the old state and a free lock, and takes the container for lost.
            self.warn(error.to_string());
        }
    }

    fn warn(&mut self, warning: String) {
        if self.state.warnings.len() < 32 && !self.state.warnings.contains(&warning) {
            self.state.warnings.push(warning);
        }
    }

    fn streams(&mut self, id: StreamsId) -> Option<&mut Streams> {
        self.streams.iter_mut().find(|streams| streams.id == id)
    }

    fn new_streams(&mut self, once: bool) -> StreamsId {
        let id = StreamsId(self.next_streams);
        self.next_streams += 1;
        self.streams.push(Streams::without_ends(id, once, &self.config.folder));
        id
    }

    /// The container's streams that no program and no client uses any more.
    fn drop_old_streams(&mut self) {
        let (clients, executions, main) = (&self.clients, &self.executions, self.main_streams);
        self.streams.retain(|streams| {
            streams.id == main
                || executions.iter().any(|execution| execution.streams == streams.id)
                || clients.iter().any(|client| client.reads(streams.id))
        });
    }

    fn folder(&self) -> &Path {
        &self.config.folder
    }
}

/// The time as the state and the events have it: nanoseconds after the Unix epoch.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
