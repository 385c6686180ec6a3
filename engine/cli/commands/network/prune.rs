//! `berth network prune`.

use berth_api::models::NetworkPruneResponse;
use berth_client::Client;

use crate::commands::Act;
use crate::commands::each::{confirm, filters};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

/// Removes the networks that no container is in, and says which.
pub(crate) async fn networks(client: &Client, arguments: &[String]) -> anyhow::Result<()> {
    let query: Vec<_> = filters(arguments)?.map(|filters| ("filters", filters)).into_iter().collect();
    let pruned: NetworkPruneResponse = client.post("/networks/prune", &query, &()).await?;
    let deleted = pruned.networks_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        println!("Deleted Networks:\n{}\n", deleted.join("\n"));
    }
    Ok(())
}

impl Act for Prune {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        // Before anybody is asked.
        filters(&self.filter)?;
        if confirm(self.force, "WARNING! This will remove all custom networks not used by at least one container.")? {
            networks(&session.client, &self.filter).await?;
        }
        Ok(0)
    }
}
