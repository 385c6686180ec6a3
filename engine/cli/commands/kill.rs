//! `berth kill`.

use super::Act;
use super::each::{container, each};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Kill {
    /// Signal to send to the container
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Act for Kill {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let query: Vec<_> = self.signal.iter().map(|signal| ("signal", signal)).collect();
        each(&self.containers, async |name| {
            session.client.act(&container(name, "kill"), &query).await?;
            Ok(name.to_owned())
        })
        .await
    }
}
