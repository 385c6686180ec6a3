//! Watching monitors: a connection to each, whose end tells that the monitor has ended. One that ended without
//! saying so is found out at once, and its container started again if its restart policy says so.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_api::Filters;
use berth_core::{Engine, EventOptions, Result, now};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::runtime::Handle;

/// How often a watch with nothing to do looks whether it is to end: an idle host is not woken for it.
const REST: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Watch {
    engine: Arc<Engine>,
    watched: Arc<Mutex<HashSet<String>>>,
}

impl Watch {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, watched: Arc::default() }
    }

    /// Watches what runs now and whatever any engine starts from now on. For a thread of its own; returns when
    /// `ended` says so.
    pub(crate) fn run(&self, runtime: &Handle, ended: &dyn Fn() -> bool) -> Result<()> {
        let mut filters = Filters::default();
        filters.add("type", "container");
        filters.add("event", "start");
        // Following begins before looking, so that nothing falls in between.
        let events = self.engine.events(EventOptions { since: Some(now()), until: None, filters })?;
        for container in self.engine.containers()? {
            runtime.spawn(self.clone().watch(container.id));
        }
        events.run(
            &mut |event| {
                if let Some(id) = event.map(|event| event.actor.id.clone()) {
                    runtime.spawn(self.clone().watch(id));
                }
                Ok(())
            },
            ended,
            REST,
        )
    }

    /// Watches one container until it has ended for good.
    async fn watch(self, id: String) {
        loop {
            if !self.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone()) {
                return;
            }
            // It answers at once or is not there: it is on this host, and takes whoever comes.
            let run_folder = self.engine.paths().container_run(&id);
            if let Some(mut monitor) = berth_monitor::client::connect(&run_folder).ok().and_then(into_async) {
                let mut buffer = [0; 64];
                while matches!(monitor.read(&mut buffer).await, Ok(1..)) {}
            }
            self.watched.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            let (engine, ended) = (self.engine.clone(), id.clone());
            // One that was started again may be killed before it can say that it has started.
            match tokio::task::spawn_blocking(move || engine.look_after(&ended)).await {
                Ok(Ok(true)) => {}
                // Removed is an end like any other.
                Ok(Ok(false) | Err(berth_core::Error::NotFound(_))) | Err(_) => return,
                Ok(Err(error)) => return tracing::warn!("look after an ended container: {error}"),
            }
        }
    }
}

fn into_async(stream: std::os::unix::net::UnixStream) -> Option<UnixStream> {
    stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream)).ok()
}
