//! What happens to the command line while a container runs in front of it: signals and resizes.

use std::future::Future;
use std::task::Poll;

use berth_client::{Client, segment};
use tokio::signal::unix::{Signal, SignalKind, signal};

use berth_arch::terminal::{self, RawMode};

/// Passed on to the container by `--sig-proxy`. The ones about children, terminals' stops and crashes are our own.
const PROXIED: &[(i32, &str)] = &[
    (libc::SIGHUP, "HUP"),
    (libc::SIGINT, "INT"),
    (libc::SIGQUIT, "QUIT"),
    (libc::SIGUSR1, "USR1"),
    (libc::SIGUSR2, "USR2"),
    (libc::SIGALRM, "ALRM"),
    (libc::SIGTERM, "TERM"),
    (libc::SIGIO, "IO"),
    (libc::SIGPWR, "PWR"),
    (libc::SIGCONT, "CONT"),
    (libc::SIGXCPU, "XCPU"),
    (libc::SIGXFSZ, "XFSZ"),
];

/// What has a terminal of its own to be resized.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Container(String),
    Exec(String),
}

impl Target {
    fn resize_path(&self) -> String {
        match self {
            Self::Container(id) => format!("/containers/{}/resize", segment(id)),
            Self::Exec(id) => format!("/exec/{}/resize", segment(id)),
        }
    }
}

/// Makes a program that has been running draw itself again: it is told another size than it has.
pub(crate) async fn redraw(client: &Client, target: &Target) {
    if let Some((columns, rows)) = terminal::size() {
        let _ = client.act(&target.resize_path(), &[("h", rows.saturating_add(1)), ("w", columns)]).await;
    }
}

/// Tells the engine the terminal's size, now and whenever it changes. Never ends.
pub(crate) async fn follow_size(client: &Client, target: &Target) -> anyhow::Result<()> {
    let mut changes = signal(SignalKind::window_change())?;
    let path = target.resize_path();
    loop {
        if let Some((columns, rows)) = terminal::size() {
            // Too early or too late is no harm: the next change tries again.
            let _ = client.act(&path, &[("h", rows), ("w", columns)]).await;
        }
        if changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Signals that are caught from now on.
pub(crate) struct Caught(Vec<(Signal, i32, &'static str)>);

impl Caught {
    pub(crate) fn new(wanted: impl Fn(i32) -> bool) -> std::io::Result<Self> {
        let wanted = PROXIED.iter().filter(|(number, _)| wanted(*number));
        let caught = wanted.map(|&(number, name)| Ok((signal(SignalKind::from_raw(number))?, number, name)));
        Ok(Self(caught.collect::<std::io::Result<_>>()?))
    }

    /// The next one's number and name.
    pub(crate) async fn next(&mut self) -> (i32, &'static str) {
        std::future::poll_fn(|context| {
            for (signal, number, name) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready((*number, *name));
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Passes signals on to the container. Never ends. A terminal that goes away takes us with it and not the container.
pub(crate) async fn proxy(client: &Client, id: &str, raw: Option<&RawMode>) -> anyhow::Result<()> {
    let path = format!("/containers/{}/kill", segment(id));
    let mut caught = Caught::new(|_| true)?;
    loop {
        let (number, name) = caught.next().await;
        match raw {
            Some(raw) if number == libc::SIGHUP => end(raw, number),
            _ => drop(client.act(&path, &[("signal", name)]).await),
        }
    }
}

/// Sees to it that a signal that ends us does not leave the user's terminal in raw mode. Never ends.
pub(crate) async fn give_back(raw: Option<&RawMode>) -> anyhow::Result<()> {
    let Some(raw) = raw else { return std::future::pending().await };
    let mut caught = Caught::new(|number| number != libc::SIGCONT)?;
    let (number, _) = caught.next().await;
    end(raw, number)
}

fn end(raw: &RawMode, signal: i32) -> ! {
    raw.leave();
    std::process::exit(128 + signal)
}

/// Runs `work` until it ends, with helpers beside it that never end by themselves.
pub(crate) async fn beside<T>(work: impl Future<Output = T>, helpers: impl Future<Output = anyhow::Result<()>>) -> T {
    tokio::pin!(work, helpers);
    tokio::select! {
        biased;
        value = &mut work => return value,
        ended = &mut helpers => if let Err(error) = ended { tracing::warn!("{error:#}") },
    }
    work.await
}
