//! `berth rename`.

use super::Act;
use super::each::container;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Rename {
    container: String,
    new_name: String,
}

impl Act for Rename {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        session.client.act(&container(&self.container, "rename"), &[("name", &self.new_name)]).await?;
        Ok(0)
    }
}
