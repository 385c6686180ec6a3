//! Signals as the API writes them.

pub(crate) use berth_arch::signal::{SIGKILL, SIGTERM};

use crate::{Error, Result};

/// `15`, `TERM`, `sigterm`, `RTMIN+3`, `SIGRTMAX-1`.
pub(crate) fn parse(text: &str) -> Result<i32> {
    berth_arch::signal::parse(text).ok_or_else(|| Error::invalid(format!("invalid signal: {text}")))
}
