//! `berth pause`.

use super::Act;
use super::each::{container, each};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Pause {
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Act for Pause {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        each(&self.containers, async |name| {
            session.client.act(&container(name, "pause"), &()).await?;
            Ok(name.to_owned())
        })
        .await
    }
}
