//! `berth checkpoint create`.

use serde_json::{Value, json};

use super::absolute;
use crate::commands::Act;
use crate::commands::each::container;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Use a custom checkpoint storage directory
    #[arg(long, value_name = "FOLDER", default_value = "", hide_default_value = true)]
    checkpoint_dir: String,
    /// Keep locks of files
    #[arg(long)]
    file_locks: bool,
    /// Leave the container running after checkpoint
    #[arg(long)]
    leave_running: bool,
    /// Keep established TCP connections
    #[arg(long)]
    tcp_established: bool,
    #[arg(value_name = "CONTAINER")]
    container: String,
    #[arg(value_name = "CHECKPOINT")]
    checkpoint: String,
}

impl Act for Create {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let body = json!({
            "CheckpointID": self.checkpoint,
            "CheckpointDir": absolute(&self.checkpoint_dir)?,
            "Exit": !self.leave_running,
            "TcpEstablished": self.tcp_established,
            "FileLocks": self.file_locks,
        });
        session.client.post::<Value>(&container(&self.container, "checkpoints"), &(), &body).await?;
        println!("{}", self.checkpoint);
        Ok(0)
    }
}
