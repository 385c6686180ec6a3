//! Records of images: finding, listing, describing, tagging and removing them.
//!
//! Wording and rules are Docker's: a name comes before an ID prefix, the last tag takes the image with it.
//! `record.rs` has the rows, `digests.rs` those of names by digest, `find.rs` turns names into images, `list.rs` and `describe.rs` show them, `remove.rs`
//! and `prune.rs` take them away, `pattern.rs` is what `reference=` filters match by.

mod describe;
mod digests;
mod find;
mod list;
mod pattern;
mod prune;
mod record;
mod remove;

use berth_fs_drivers::{LayerId, Usage};
use berth_store::rusqlite::Connection;

use crate::{Digest, ImageConfig, ImageId, Reference, Result};

pub(crate) use digests::{digests_of, note_blob, set_digest};
pub(crate) use find::find;
pub(crate) use record::{NewImage, insert, now, raw_config, set_tag, tagged, tags_of};

/// An image's record.
#[derive(Debug, Clone)]
pub struct Image {
    pub id: ImageId,
    /// The topmost layer's number.
    pub layer: Option<i64>,
    pub config: ImageConfig,
    /// When it came into this store, nanoseconds after the epoch.
    pub created: i64,
    /// Bytes of content of all its layers.
    pub size: u64,
    /// The image that it was committed on top of.
    pub parent: Option<ImageId>,
}

/// One line of `images`.
#[derive(Debug, Clone)]
pub struct Summary {
    pub id: ImageId,
    pub parent: Option<ImageId>,
    pub tags: Vec<Reference>,
    pub digests: Vec<Reference>,
    /// Seconds after the epoch: what the configuration says, else when it came.
    pub created: i64,
    pub size: u64,
    pub labels: std::collections::BTreeMap<String, String>,
}

/// Everything `image inspect` shows.
#[derive(Debug, Clone)]
pub struct Inspect {
    pub image: Image,
    pub tags: Vec<Reference>,
    pub digests: Vec<Reference>,
    /// When it was last given a tag, nanoseconds after the epoch.
    pub last_tagged: Option<i64>,
    pub driver: &'static str,
    /// Of the topmost layer: `UpperDir`, `LowerDir` and so on.
    pub driver_data: std::collections::BTreeMap<String, String>,
}

/// One line of `history`, the newest first.
#[derive(Debug, Clone)]
pub struct HistoryEntry {
    /// `None` is shown as `<missing>`.
    pub id: Option<ImageId>,
    /// Seconds after the epoch; 0 when not recorded.
    pub created: i64,
    pub created_by: String,
    pub tags: Vec<Reference>,
    pub size: u64,
    pub comment: String,
}

/// What `images` and `image prune` choose by; all that is given has to hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Also images without a tag that others were committed on.
    pub all: bool,
    pub dangling: Option<bool>,
    /// `key` or `key=value`; all must be there.
    pub labels: Vec<String>,
    /// None of these may be there.
    pub without_labels: Vec<String>,
    /// Only those made before or after these images.
    pub before: Option<String>,
    pub since: Option<String>,
    /// Patterns as `debian`, `*/foo:1.?`; any of them.
    pub references: Vec<String>,
    /// Only those made before this time, nanoseconds after the epoch.
    pub until: Option<i64>,
}

/// Somebody who needs an image: a container.
#[derive(Debug, Clone)]
pub struct ImageUser {
    pub container: String,
    pub running: bool,
}

/// Answers who uses an image, inside the transaction that is about to remove it.
pub type Users<'a> = dyn Fn(&Connection, &ImageId) -> Result<Vec<ImageUser>> + 'a;

#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    pub force: bool,
    /// Keep parents that lose their last child and have no tag.
    pub keep_parents: bool,
}

/// One line of what `rmi` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    Untagged(String),
    /// An image or layer (chain ID).
    Deleted(Digest),
}

#[derive(Debug, Clone, Default)]
pub struct Pruned {
    pub removed: Vec<Removed>,
    /// Bytes.
    pub reclaimed: u64,
}

/// What images take together, and each of them.
#[derive(Debug, Clone, Default)]
pub struct DiskUsage {
    /// Bytes of all image layers, each once.
    pub layers: u64,
    pub images: Vec<ImageUsage>,
}

/// What the driver keeps of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerUsage {
    /// The driver's name for it.
    pub id: LayerId,
    /// Nothing of a container's own layer.
    pub diff_id: Option<Digest>,
    /// Bytes of file content in an image's layer.
    pub content: u64,
    /// Without what it shares with the layers below.
    pub on_disk: Usage,
    /// How many images have it.
    pub images: usize,
    /// How many containers stand on it, or are it.
    pub containers: usize,
}

#[derive(Debug, Clone)]
pub struct ImageUsage {
    pub summary: Summary,
    /// Bytes in layers that other images have too.
    pub shared: u64,
    pub unique: u64,
}
