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

    async fn watch(self, id: String) {
        if !self.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone()) {
            return;
        }
        let socket = self.engine.paths().container_run(&id).join("monitor.sock");
        if let Ok(mut monitor) = UnixStream::connect(&socket).await {
            let mut buffer = [0; 64];
            while matches!(monitor.read(&mut buffer).await, Ok(1..)) {}
        }
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let engine = self.engine;
        let looked = tokio::task::spawn_blocking(move || engine.look_after(&id));
        match looked.await {
            // It was removed, which is an end like any other.
            Ok(Ok(()) | Err(berth_core::Error::NotFound(_))) | Err(_) => {}
            Ok(Err(error)) => tracing::warn!("look after an ended container: {error}"),
        }
    }
}
