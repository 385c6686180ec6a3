//! The daemon: an engine behind sockets. It holds nothing that its containers need: they belong to their monitors.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_core::{Engine, EngineConfig, Error, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::listener::{Address, Listener};
use crate::notify::notify;
use crate::pidfile::PidFile;
use crate::watch::Watch;

/// Connections are few and mostly wait; what works does so on blocking threads.
const WORKERS: usize = 2;
/// Followers (logs, events, stats) and waits hold one each.
const BLOCKING: usize = 4096;
const STACK: usize = 1 << 20;
/// How long work that has begun may take after the signal to end.
const GRACE: Duration = Duration::from_secs(5);

pub struct ServeOptions {
    pub engine: EngineConfig,
    /// Empty: all of `given` if there are any, else the socket in the run folder.
    pub addresses: Vec<Address>,
    /// Reads the configuration again, at SIGHUP.
    pub reread: Box<dyn Fn() -> Result<EngineConfig> + Send + Sync>,
    /// Of [`given_sockets`](crate::given_sockets).
    pub given: Vec<OwnedFd>,
}

/// Serves until SIGTERM or SIGINT. Containers keep running after it.
pub fn serve(options: ServeOptions) -> Result<()> {
    let internal = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| Error::Internal(format!("{what}: {error}"))
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_keep_alive(Duration::from_secs(5))
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .map_err(internal("start the runtime"))?;
    let _pidfile = options.engine.pidfile.as_deref().map(PidFile::write).transpose()?;
    let ended = Arc::new(AtomicBool::new(false));
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(internal("handle SIGTERM"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(internal("handle SIGINT"))?;
        let mut hang_up = signal(SignalKind::hangup()).map_err(internal("handle SIGHUP"))?;
        let group = options.engine.group.clone();
        let engine = Arc::new(Engine::open(options.engine)?);
        engine.usable_storage()?;
        let _kept = engine.keep_storage()?;
        let mut addresses = options.addresses;
        let mut given: Vec<_> = options.given.into_iter().map(Some).collect();
        if addresses.is_empty() {
            let usual = Address::Unix(engine.paths().socket());
            addresses.push(if given.is_empty() { usual } else { Address::Given(None) });
        }
        let mut listeners = Vec::new();
        for address in &addresses {
            listeners.extend(Listener::bind(address, &mut given, group.as_deref()).await?);
        }
        look_after(&engine, &ended);
        keep_rules(&engine, &ended);
        let mut tasks = tokio::task::JoinSet::new();
        for address in &addresses {
            tracing::info!("listening on {address}");
        }
        for listener in listeners {
            let engine = Arc::clone(&engine);
            tasks.spawn(async move { listener.serve(engine).await });
        }
        notify("READY=1");
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => reload(&engine, &options.reread),
            }
        }
        notify("STOPPING=1");
        tracing::info!("ending; containers keep running");
        tasks.shutdown().await;
        Ok(())
    });
    ended.store(true, Ordering::Relaxed);
    runtime.shutdown_timeout(GRACE);
    result
}

/// What is wrong with the new configuration leaves the old one in force. Containers that there are keep theirs.
fn reload(engine: &Engine, reread: &(impl Fn() -> Result<EngineConfig> + ?Sized)) {
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic()));
    match reread().and_then(|new| engine.reload(&new)) {
        Ok(kept) if kept.is_empty() => tracing::info!("SIGHUP: the configuration was read again"),
        Ok(kept) => {
            tracing::warn!("SIGHUP: the configuration was read again; a restart is needed for {}", kept.join(", "))
        }
        Err(error) => tracing::error!("SIGHUP: the configuration stays as it was: {error}"),
    }
    notify("READY=1");
}

/// Microseconds, as sd_notify(3) wants them with RELOADING=1.
fn monotonic() -> i128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000
}

/// Finishes what dead engines left, starts what the restart policies want, and watches the monitors: in the
/// background, as it may take long.
fn look_after(engine: &Arc<Engine>, ended: &Arc<AtomicBool>) {
    let (engine, ended, runtime) = (Arc::clone(engine), Arc::clone(ended), tokio::runtime::Handle::current());
    let work = move || {
        for (what, result) in [("sweep up", engine.sweep()), ("start containers", engine.autostart())] {
            if let Err(error) = result {
                tracing::error!("{what}: {error}");
            }
        }
        if let Err(error) = Watch::new(engine).run(&runtime, &|| ended.load(Ordering::Relaxed)) {
            tracing::error!("watch the monitors: {error}");
        }
    };
    spawn("watch", work);
}

/// Brings back the rules of networks whenever somebody takes them away.
fn keep_rules(engine: &Arc<Engine>, ended: &Arc<AtomicBool>) {
    let (engine, ended) = (Arc::clone(engine), Arc::clone(ended));
    spawn("rules", move || engine.watch_rules(&|| ended.load(Ordering::Relaxed)));
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work) {
        tracing::error!("start the thread {name}: {error}");
    }
}
