//! `berth diff`.

use berth_api::models::{ChangeType, FilesystemChange};

use super::Act;
use super::each::container;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    container: String,
}

impl Act for Diff {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let changes: Option<Vec<FilesystemChange>> =
            session.client.get(&container(&self.container, "changes"), &()).await?;
        for change in changes.unwrap_or_default() {
            let kind = match change.kind {
                ChangeType::_0 => 'C',
                ChangeType::_1 => 'A',
                ChangeType::_2 => 'D',
            };
            println!("{kind} {}", change.path);
        }
        Ok(0)
    }
}
