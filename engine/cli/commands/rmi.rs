//! `berth rmi`, `berth image rm`, and `berth tag`.

use anyhow::{Context, ensure};
use berth_api::models::ImageDeleteResponseItem;
use berth_client::segment;
use berth_image::Reference;

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
        let wrong = || format!("Error parsing reference: {:?} is not a valid repository/tag", self.target);
        let target = self.target.parse::<Reference>().with_context(wrong)?.with_default_tag();
        ensure!(target.digest().is_none(), "refusing to create a tag with a digest reference");
        let path = format!("/images/{}/tag", segment(&self.source));
        let query = [("repo", target.familiar_name()), ("tag", target.tag().unwrap_or_default().to_owned())];
        session.client.act(&path, &query).await?;
        Ok(0)
    }
}
