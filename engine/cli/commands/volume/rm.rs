//! `berth volume rm`.

use berth_client::segment;

use crate::commands::Act;
use crate::commands::each::each;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct RemoveVolumes {
    /// Force the removal of one or more volumes
    #[arg(short, long)]
    force: bool,
    #[arg(value_name = "VOLUME", required = true)]
    names: Vec<String>,
}

impl Act for RemoveVolumes {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let query = [("force", u8::from(self.force))];
        each(&self.names, async |name| {
            session.client.delete::<()>(&format!("/volumes/{}", segment(name)), &query).await?;
            Ok(name.to_owned())
        })
        .await
    }
}
