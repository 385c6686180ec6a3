//! `berth hello`: what the embedded image runs. Works without an engine, and outside a container too.

use super::Act;
use crate::session::{Globals, Session};

#[derive(Debug, clap::Args)]
pub(crate) struct Hello {}

impl Act for Hello {
    const LOCAL: bool = true;

    async fn act(self, _session: Session) -> anyhow::Result<u8> {
        unreachable!("a local verb")
    }

    fn act_locally(self, _globals: Globals) -> anyhow::Result<u8> {
        crate::hello::print();
        Ok(0)
    }
}
