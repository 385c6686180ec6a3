//! `berth monitor-reap`: what a monitor becomes when its container has ended, is to be removed, and nobody waits.

use berth_core::Engine;

use super::Act;
use crate::session::{Globals, Session};

#[derive(Debug, clap::Args)]
pub(crate) struct Reap {
    id: String,
}

impl Act for Reap {
    const LOCAL: bool = true;

    async fn act(self, _session: Session) -> anyhow::Result<u8> {
        unreachable!("a local verb")
    }

    fn act_locally(self, globals: Globals) -> anyhow::Result<u8> {
        let config = globals.engine_config()?;
        config.enter()?;
        Engine::open(config)?.reap(&self.id)?;
        Ok(0)
    }
}
