//! `berth manifest create`.

use anyhow::ensure;
use berth_image::Reference;

use super::shelf::{Entry, Shelf};
use super::{client, fetch, reference, without_engine};
use crate::commands::Act;
use crate::session::{Globals, Session};

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Amend an existing manifest list
    #[arg(short, long)]
    amend: bool,
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    #[arg(value_name = "MANIFEST", required = true)]
    manifests: Vec<String>,
}

impl Act for Create {
    const LOCAL: bool = true;

    async fn act(self, session: Session) -> anyhow::Result<u8> {
        without_engine(session).await
    }

    fn act_locally(self, globals: Globals) -> anyhow::Result<u8> {
        let list = reference(&self.list)?;
        ensure!(list.digest().is_none(), "invalid reference format: a manifest list has a tag and no digest");
        let shelf = Shelf::of(&list)?;
        ensure!(self.amend || !shelf.exists(), "refusing to amend an existing manifest list with no --amend flag");
        let names = self.manifests.iter().map(|name| reference(name)).collect::<anyhow::Result<Vec<Reference>>>()?;
        let client = client(&globals, self.insecure, &names.iter().collect::<Vec<_>>())?;
        // All of them are there before the first is written down.
        let mut entries = Vec::new();
        for name in &names {
            let fetched = fetch(&client, name)?;
            ensure!(
                !fetched.is_index(),
                "{} is a manifest list: name what it has, by digest (berth manifest inspect)",
                name.familiar()
            );
            entries.push(Entry::new(name, fetched));
        }
        for entry in &entries {
            shelf.put(entry)?;
        }
        println!("Created manifest list {list}");
        Ok(0)
    }
}
