//! `berth checkpoint rm`.

use berth_client::segment;

use super::absolute;
use crate::commands::Act;
use crate::commands::each::container;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// Use a custom checkpoint storage directory
    #[arg(long, value_name = "FOLDER", default_value = "", hide_default_value = true)]
    checkpoint_dir: String,
    #[arg(value_name = "CONTAINER")]
    container: String,
    #[arg(value_name = "CHECKPOINT")]
    checkpoint: String,
}

impl Act for Rm {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let path = format!("{}/{}", container(&self.container, "checkpoints"), segment(&self.checkpoint));
        session.client.delete::<()>(&path, &[("dir", absolute(&self.checkpoint_dir)?)]).await?;
        Ok(0)
    }
}
