//! `berth network disconnect`.

use berth_api::models::NetworkDisconnectRequest;

use super::path;
use crate::commands::Act;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Disconnect {
    /// Force the container to disconnect from a network
    #[arg(short, long)]
    force: bool,
    #[arg(value_name = "NETWORK")]
    network: String,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Act for Disconnect {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let path = format!("{}/disconnect", path(&self.network)?);
        let request = NetworkDisconnectRequest { container: self.container, force: Some(self.force) };
        let () = session.client.post(&path, &(), &request).await?;
        Ok(0)
    }
}
