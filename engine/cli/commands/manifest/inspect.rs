//! `berth manifest inspect`.

use std::io::Write;

use anyhow::{Context, ensure};
use berth_distribution::{Access, Fetched};
use berth_image::Reference;
use berth_image::formats::{DOCKER_LIST, Index};
use serde::Serialize;
use serde_json::{Value, json};

use super::shelf::Shelf;
use super::{client, fetch, reference, repository, without_engine};
use crate::commands::Act;
use crate::session::{Globals, Session};

#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Output additional info including layers and platform
    #[arg(short, long)]
    verbose: bool,
    #[arg(value_name = "[MANIFEST_LIST] MANIFEST", required = true, num_args = 1..=2)]
    names: Vec<String>,
}

impl Act for Inspect {
    const LOCAL: bool = true;

    async fn act(self, session: Session) -> anyhow::Result<u8> {
        without_engine(session).await
    }

    fn act_locally(self, globals: Globals) -> anyhow::Result<u8> {
        let names = self.names.iter().map(|name| reference(name)).collect::<anyhow::Result<Vec<Reference>>>()?;
        if let [list, name] = &names[..] {
            let entry = Shelf::of(list)?.get(name)?;
            let entry = entry.with_context(|| format!("No such manifest: {}", name.familiar()))?;
            return self.show(name, &entry.fetched()?).and_then(|value| print(&value));
        }
        let name = &names[0];
        let shelf = Shelf::of(name)?;
        if shelf.exists() {
            let entries = shelf.entries()?;
            if self.verbose {
                let all: Vec<Value> = entries
                    .iter()
                    .map(|entry| self.show(&entry.reference()?, &entry.fetched()?))
                    .collect::<anyhow::Result<_>>()?;
                return print(&json!(all));
            }
            let manifests = entries.into_iter().map(|entry| entry.descriptor).collect();
            let list = Index { schema_version: 2, media_type: DOCKER_LIST.to_owned(), manifests };
            return print(&serde_json::to_value(list)?);
        }
        let client = client(&globals, self.insecure, &[name])?;
        let top = fetch(&client, name)?;
        if !self.verbose || !top.is_index() {
            return self.show(name, &top).and_then(|value| print(&value));
        }
        let repository = repository(&client, name, Access::Pull)?;
        let mut all = Vec::new();
        for descriptor in top.index()?.manifests {
            all.push(self.show(&name.with_digest(descriptor.digest.clone()), &repository.child(&descriptor)?)?);
        }
        print(&json!(all))
    }
}

impl Inspect {
    /// The document, or all that is known of it.
    fn show(&self, name: &Reference, fetched: &Fetched) -> anyhow::Result<Value> {
        let document: Value = serde_json::from_slice(&fetched.bytes).context("read the manifest")?;
        if !self.verbose {
            return Ok(document);
        }
        ensure!(document.is_object(), "the manifest of {} makes no sense", name.familiar());
        let key = if fetched.descriptor.media_type.contains("oci") { "OCIManifest" } else { "SchemaV2Manifest" };
        Ok(json!({ "Ref": name.to_string(), "Descriptor": fetched.descriptor, key: document }))
    }
}

fn print(value: &Value) -> anyhow::Result<u8> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    bytes.push(b'\n');
    std::io::stdout().write_all(&bytes)?;
    Ok(0)
}
