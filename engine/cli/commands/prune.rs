//! `berth container prune`, `berth image prune`, `berth system prune`. Volumes are in `volume/prune.rs`.

use berth_api::models::{ContainerPruneResponse, ImagePruneResponse};
use berth_client::Client;

use super::each::{confirm, filters};
use super::rmi::print_removed;
use super::{Act, network};
use crate::output::human::size;
use crate::output::natural;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct PruneContainers {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PruneImages {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PruneSystem {
    /// Remove all unused images not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "label=<key>=<value>")
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Prune anonymous volumes
    #[arg(long)]
    volumes: bool,
}

async fn containers(client: &Client, arguments: &[String]) -> anyhow::Result<i64> {
    let query: Vec<_> = filters(arguments)?.map(|filters| ("filters", filters)).into_iter().collect();
    let pruned: ContainerPruneResponse = client.post("/containers/prune", &query, &()).await?;
    let deleted = pruned.containers_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        println!("Deleted Containers:\n{}\n", deleted.join("\n"));
    }
    Ok(pruned.space_reclaimed.unwrap_or_default())
}

async fn images(client: &Client, all: bool, arguments: &[String]) -> anyhow::Result<i64> {
    let mut arguments = arguments.to_vec();
    arguments.push(format!("dangling={}", !all));
    let query: Vec<_> = filters(&arguments)?.map(|filters| ("filters", filters)).into_iter().collect();
    let pruned: ImagePruneResponse = client.post("/images/prune", &query, &()).await?;
    let deleted = pruned.images_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        println!("Deleted Images:");
        print_removed(&deleted);
        println!();
    }
    Ok(pruned.space_reclaimed.unwrap_or_default())
}

pub(super) fn reclaimed(bytes: i64) -> u8 {
    println!("Total reclaimed space: {}", size(bytes));
    0
}

impl Act for PruneContainers {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        if !confirm(self.force, "WARNING! This will remove all stopped containers.")? {
            return Ok(0);
        }
        Ok(reclaimed(containers(&session.client, &self.filter).await?))
    }
}

impl Act for PruneImages {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let warning = if self.all {
            "WARNING! This will remove all images without at least one container associated to them."
        } else {
            "WARNING! This will remove all dangling images."
        };
        if !confirm(self.force, warning)? {
            return Ok(0);
        }
        Ok(reclaimed(images(&session.client, self.all, &self.filter).await?))
    }
}

impl Act for PruneSystem {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        anyhow::ensure!(
            !self.volumes || !self.filter.iter().any(|filter| filter.starts_with("until")),
            "the \"until\" filter is not supported with \"--volumes\""
        );
        let which = if self.all {
            "all images without at least one container associated to them"
        } else {
            "all dangling images"
        };
        let volumes = if self.volumes { "  - all anonymous volumes not used by at least one container\n" } else { "" };
        let mut warning = format!(
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one \
             container\n{volumes}  - {which}\n"
        );
        filters(&self.filter)?;
        if !self.filter.is_empty() {
            warning.push_str("\n  Items to be pruned will be filtered with:\n");
            let mut shown = self.filter.clone();
            shown.sort_by(|one, other| natural::order(one, other));
            shown.iter().for_each(|filter| warning.push_str(&format!("  - {filter}\n")));
        }
        if !confirm(self.force, &warning)? {
            return Ok(0);
        }
        let client = &session.client;
        let mut bytes = containers(client, &self.filter).await?;
        network::prune_networks(client, &self.filter).await?;
        if self.volumes {
            bytes += super::volume::prune::volumes(client, false, &self.filter).await?;
        }
        Ok(reclaimed(bytes + images(client, self.all, &self.filter).await?))
    }
}
