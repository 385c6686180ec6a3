//! `berth volume prune`.

use berth_api::models::VolumePruneResponse;
use berth_client::Client;

use crate::commands::Act;
use crate::commands::each::{confirm, filters};
use crate::commands::prune::reclaimed;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct PruneVolumes {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "label=<label>")
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

impl Act for PruneVolumes {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        anyhow::ensure!(
            !self.all || !self.filter.iter().any(|filter| filter.trim_start().starts_with("all=")),
            "conflicting options: cannot specify both --all and --filter all=1"
        );
        let which = if self.all { "all" } else { "anonymous" };
        let what = if self.all { "volumes" } else { "local volumes" };
        if !confirm(
            self.force,
            &format!("WARNING! This will remove {which} {what} not used by at least one container."),
        )? {
            return Ok(0);
        }
        Ok(reclaimed(volumes(&session.client, self.all, &self.filter).await?))
    }
}

/// The bytes that are free again.
pub(crate) async fn volumes(client: &Client, all: bool, arguments: &[String]) -> anyhow::Result<i64> {
    let mut arguments = arguments.to_vec();
    if all {
        arguments.push("all=true".to_owned());
    }
    let query: Vec<_> = filters(&arguments)?.map(|filters| ("filters", filters)).into_iter().collect();
    let pruned: VolumePruneResponse = client.post("/volumes/prune", &query, &()).await?;
    let deleted = pruned.volumes_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        println!("Deleted Volumes:\n{}\n", deleted.join("\n"));
    }
    Ok(pruned.space_reclaimed.unwrap_or_default())
}
