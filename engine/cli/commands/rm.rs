//! `berth rm`.

use berth_client::segment;

use super::Act;
use super::each::each;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Remove the specified link
    #[arg(short, long)]
    link: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    volumes: bool,
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Act for Rm {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let query = [("force", self.force), ("link", self.link), ("v", self.volumes)];
        let query = query.map(|(name, set)| (name, u8::from(set)));
        each(&self.containers, async |name| {
            let removed = session.client.delete::<()>(&format!("/containers/{}", segment(name)), &query).await;
            match removed {
                // What is not there need not be removed.
                Err(error) if self.force && error.status() == Some(404) => {
                    eprintln!("Error response from daemon: {error}");
                    Ok(String::new())
                }
                other => other.map(|()| name.to_owned()).map_err(Into::into),
            }
        })
        .await
    }
}
