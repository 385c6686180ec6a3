//! `berth checkpoint ls`.

use serde_json::Value;

use super::absolute;
use crate::commands::Act;
use crate::commands::each::container;
use crate::output::table::{self, Column, Style};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Ls {
    /// Use a custom checkpoint storage directory
    #[arg(long, value_name = "FOLDER", default_value = "", hide_default_value = true)]
    checkpoint_dir: String,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

const COLUMNS: &[Column] = &[("CHECKPOINT NAME", "Name")];

impl Act for Ls {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let query = [("dir", absolute(&self.checkpoint_dir)?)];
        let found: Vec<Value> = session.client.get(&container(&self.container, "checkpoints"), &query).await?;
        table::print(Style { format: None, quiet: None, labels: &[] }, COLUMNS, &[], &found)?;
        Ok(0)
    }
}
