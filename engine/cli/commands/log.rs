//! What the engine says of itself, on standard error.

use std::sync::OnceLock;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// `level`: `debug`, `info`, `warn` or `error`. To be called once.
pub(crate) fn to_stderr(level: &str) {
    let (filter, handle) = reload::Layer::new(read(level));
    tracing_subscriber::registry().with(filter).with(fmt::layer().with_writer(std::io::stderr)).init();
    let _ = LEVEL.set(handle);
}

/// From here on.
pub(crate) fn set_level(level: &str) {
    if let Some(handle) = LEVEL.get() {
        // It fails only after the end of the subscriber, which has none.
        let _ = handle.modify(|filter| *filter = read(level));
    }
}

fn read(level: &str) -> LevelFilter {
    level.parse().unwrap_or(LevelFilter::INFO)
}
