//! `berth rmi`, `berth image rm`, and `berth tag`.

use berth_api::models::ImageDeleteResponseItem;
use berth_client::segment;

use super::Act;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Rmi {
    /// Force removal of the image
    #[arg(short, long)]
    force: bool,
    /// Do not delete untagged parents
    #[arg(long)]
    no_prune: bool,
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Tag {
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    source: String,
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    target: String,
}

impl Act for Rmi {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let query = [("force", u8::from(self.force)), ("noprune", u8::from(self.no_prune))];
        let mut code = 0;
        for name in &self.images {
            let removed: Result<Vec<ImageDeleteResponseItem>, _> =
                session.client.delete(&format!("/images/{}", segment(name)), &query).await;
            match removed {
                Ok(items) => print_removed(&items),
                Err(error) => {
                    eprintln!("Error response from daemon: {error}");
                    code = u8::from(!(self.force && error.status() == Some(404)));
                }
            }
        }
        Ok(code)
    }
}

pub(super) fn print_removed(items: &[ImageDeleteResponseItem]) {
    for item in items {
        if let Some(name) = &item.untagged {
            println!("Untagged: {name}");
        }
        if let Some(id) = &item.deleted {
            println!("Deleted: {id}");
        }
    }
}

impl Act for Tag {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        // A colon after the last slash starts the tag; the one of a registry's port stands before it.
        let start = self.target.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match self.target[start..].find(':') {
            Some(colon) => (&self.target[..start + colon], &self.target[start + colon + 1..]),
            None => (self.target.as_str(), "latest"),
        };
        let path = format!("/images/{}/tag", segment(&self.source));
        session.client.act(&path, &[("repo", repository), ("tag", tag)]).await?;
        Ok(0)
    }
}
