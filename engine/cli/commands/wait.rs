//! `berth wait`.

use berth_api::models::ContainerWaitResponse;

use super::Act;
use super::each::{container, each};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Act for Wait {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        each(&self.containers, async |name| {
            let ended: ContainerWaitResponse = session.client.post(&container(name, "wait"), &(), &()).await?;
            Ok(ended.status_code.to_string())
        })
        .await
    }
}
