//! `commit`: a container's changes become an image.

use crate::digest::Digest;
use crate::layers::Chain;
use crate::pipe::piped;
use crate::progress::{ProgressReader, Reporter};
use crate::{History, ImageConfig, ImageId, ImageStore, OnProgress, Reference, Result, RunConfig, change, import};

#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    pub reference: Option<Reference>,
    /// What the container runs with; `changes` are applied to it.
    pub config: RunConfig,
    /// `--change` instructions.
    pub changes: Vec<String>,
    pub author: Option<String>,
    pub message: Option<String>,
    /// The command line that made the changes, for the history.
    pub created_by: String,
}

impl ImageStore {
    /// Makes an image of the container layer `number` and the image `parent` that it stands on. Nothing is added
    /// for a container that changed nothing. A container that runs meanwhile should be paused.
    pub fn commit(
        &self,
        number: i64,
        parent: &ImageId,
        options: &CommitOptions,
        progress: &mut OnProgress<'_>,
    ) -> Result<ImageId> {
        let mut run = options.config.clone();
        change::apply(&mut run, &options.changes)?;
        let base = self.get(parent)?;
        let mut chain = Chain::on(self, parent)?;
        let diff_id = self.add_changes(&mut chain, number, progress)?;
        let empty_layer = diff_id == empty_archive();
        if empty_layer {
            chain = Chain::on(self, parent)?;
        }
        let created = Some(jiff::Timestamp::now().to_string());
        let history = History {
            created: created.clone(),
            author: options.author.clone(),
            created_by: Some(options.created_by.clone()),
            comment: options.message.clone(),
            empty_layer,
        };
        let mut rootfs = base.config.rootfs;
        rootfs.diff_ids.extend((!empty_layer).then_some(diff_id));
        let config = ImageConfig {
            created,
            author: options.author.clone(),
            comment: options.message.clone(),
            docker_version: None,
            config: run,
            rootfs,
            history: base.config.history.into_iter().chain([history]).collect(),
            ..base.config
        };
        import::record(chain, &config, Some(parent), options.reference.as_ref())
    }

    /// One pass: packed by a thread, unpacked and digested by this one.
    fn add_changes(&self, chain: &mut Chain<'_>, number: i64, progress: &mut OnProgress<'_>) -> Result<Digest> {
        piped(
            |writer| self.pack_changes(number, writer),
            |reader| chain.add(ProgressReader::new(reader, Reporter::new(progress, "Committing", "", None))),
        )
    }
}

/// The digest of an archive without entries: two blocks of zeros.
fn empty_archive() -> Digest {
    Digest::of(&[0; 1024])
}
