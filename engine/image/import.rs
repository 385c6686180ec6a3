//! `import`: one archive of a file system becomes an image of one layer.

use std::io::Read;

use berth_arch::host::Platform;

use crate::compression::decompress;
use crate::images::{self, NewImage};
use crate::layers::Chain;
use crate::progress::{ProgressReader, Reporter};
use crate::{
    Error, History, ImageConfig, ImageId, ImageStore, OnProgress, Reference, Result, RootFs, RunConfig, change,
};

#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    pub reference: Option<Reference>,
    /// `--change` instructions.
    pub changes: Vec<String>,
    pub message: Option<String>,
    /// Instead of the host's.
    pub platform: Option<Platform>,
    /// Where the archive came from, for the default message.
    pub source: String,
}

impl ImageStore {
    /// Reads `archive` (tar, plain or compressed by gzip, bzip2, xz or zstd) once, to its end.
    pub fn import(
        &self,
        archive: impl Read,
        options: &ImportOptions,
        progress: &mut OnProgress<'_>,
    ) -> Result<ImageId> {
        let mut run = RunConfig::default();
        change::apply(&mut run, &options.changes)?;
        let archive = ProgressReader::new(archive, Reporter::new(progress, "Importing", "", None));
        let archive = decompress(archive).map_err(|source| Error::Stream {
            action: "read",
            object: "the archive".to_owned(),
            source,
        })?;
        let mut chain = Chain::new(self);
        let diff_id = chain.add(archive)?;
        let platform = options.platform.as_ref().unwrap_or(&self.platform);
        let message = options.message.clone().unwrap_or_else(|| format!("Imported from {}", options.source));
        let created = Some(jiff::Timestamp::now().to_string());
        let config = ImageConfig {
            created: created.clone(),
            comment: Some(message.clone()),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            os: platform.os.clone(),
            config: run,
            rootfs: RootFs { diff_ids: vec![diff_id], ..RootFs::default() },
            history: vec![History { created, comment: Some(message), ..History::default() }],
            ..ImageConfig::default()
        };
        record(chain, &config, None, options.reference.as_ref())
    }
}

/// Makes the image of `config` with the layers of `chain`.
pub(crate) fn record(
    chain: Chain<'_>,
    config: &ImageConfig,
    parent: Option<&ImageId>,
    reference: Option<&Reference>,
) -> Result<ImageId> {
    let config = serde_json::to_vec(config).map_err(|source| Error::Stream {
        action: "encode",
        object: "the image's configuration".to_owned(),
        source: source.into(),
    })?;
    chain.settle(|transaction, layer, size| {
        let id = images::insert(transaction, &NewImage { config: &config, layer, size, parent })?;
        if let Some(reference) = reference {
            images::set_tag(transaction, reference, &id)?;
        }
        Ok(id)
    })
}
