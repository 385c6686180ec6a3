//! `berth manifest push`.

use anyhow::ensure;
use berth_distribution::Access;
use berth_image::Digest;
use berth_image::formats::{DOCKER_LIST, INDEX, Index, MANIFEST};

use super::shelf::Shelf;
use super::{client, reference, repository, without_engine};
use crate::commands::Act;
use crate::session::{Globals, Session};

#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    /// Allow push to an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Remove the local manifest list after push
    #[arg(short, long)]
    purge: bool,
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
}

impl Act for Push {
    const LOCAL: bool = true;

    async fn act(self, session: Session) -> anyhow::Result<u8> {
        without_engine(session).await
    }

    fn act_locally(self, globals: Globals) -> anyhow::Result<u8> {
        let list = reference(&self.list)?;
        let shelf = Shelf::of(&list)?;
        ensure!(shelf.exists(), "{} not found", list.familiar());
        let entries = shelf.entries()?;
        for entry in &entries {
            let name = entry.reference()?;
            ensure!(
                name.domain() == list.domain(),
                "cannot use source images from a different registry than the target image: {} != {}",
                name.domain(),
                list.domain()
            );
            let known = entry.descriptor.platform.as_ref().is_some_and(|found| !found.architecture.is_empty());
            ensure!(
                known,
                "manifest {} must have an OS and Architecture to be pushed to a registry: berth manifest annotate",
                name.familiar()
            );
        }
        let client = client(&globals, self.insecure, &[&list])?;
        let mut target = repository(&client, &list, Access::Push)?;
        for entry in &entries {
            target = target.and_pull(entry.reference()?.path());
        }
        for entry in &entries {
            let (name, fetched) = (entry.reference()?, entry.fetched()?);
            target.borrow_image(&name, &fetched)?;
            println!(
                "Pushed ref {} with digest: {}",
                list.with_digest(fetched.descriptor.digest.clone()),
                fetched.descriptor.digest
            );
        }
        let oci = entries.iter().any(|entry| entry.descriptor.media_type == MANIFEST);
        let media_type = if oci { INDEX } else { DOCKER_LIST };
        let manifests = entries.into_iter().map(|entry| entry.descriptor).collect();
        let index = Index { schema_version: 2, media_type: media_type.to_owned(), manifests };
        let bytes = serde_json::to_vec(&index)?;
        target.put_manifest(&list, media_type, &bytes)?;
        println!("{}", Digest::of(&bytes));
        if self.purge {
            shelf.remove(&list)?;
        }
        Ok(0)
    }
}
