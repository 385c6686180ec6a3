//! `berth network rm`.

use super::path;
use crate::commands::Act;
use crate::commands::each::each;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    force: bool,
    #[arg(value_name = "NETWORK", required = true)]
    networks: Vec<String>,
}

impl Act for Rm {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        each(&self.networks, async |name| match session.client.delete::<()>(&path(name)?, &()).await {
            Err(error) if self.force && error.status() == Some(404) => Ok(String::new()),
            other => Ok(other.map(|()| name.to_owned())?),
        })
        .await
    }
}
