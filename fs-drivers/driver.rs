//! The trait that every storage driver implements.

use std::io;
use std::path::{Path, PathBuf};

use berth_arch::Probe;
use berth_arch::mount::Mount;

use crate::Result;

/// The name of a layer on disk: 1 to 64 of `[a-z0-9-]`. Given out by the layer graph (engine/image), short,
/// and never given out twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerId(String);

impl LayerId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for LayerId {
    type Err = crate::Error;

    fn from_str(name: &str) -> Result<Self> {
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
            return Err(crate::Error::InvalidArgument(format!("layer name {name:?}")));
        }
        Ok(Self(name.to_owned()))
    }
}

impl TryFrom<String> for LayerId {
    type Error = crate::Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<LayerId> for String {
    fn from(id: LayerId) -> Self {
        id.0
    }
}

impl std::fmt::Display for LayerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a layer is going to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
    /// As `ReadWrite` for a layer that is removed with its container (`run --rm`): nothing in it has to survive a
    /// crash of the host, so the driver may leave out every sync.
    Throwaway,
}

/// What a layer takes, without its parents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Bytes on the disk (allocated blocks; hard links once).
    pub bytes: u64,
    pub inodes: u64,
}

/// What a layer is asked to be when it is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerOptions {
    /// How many bytes may be written into it; `None`: as many as there is room for. Writing more is EDQUOT.
    pub size: Option<u64>,
}

impl LayerOptions {
    /// For drivers without limits.
    pub(crate) fn refuse_size(&self, driver: &str) -> Result<()> {
        match self.size {
            None => Ok(()),
            Some(_) => Err(crate::Error::Unsupported(format!(
                "--storage-opt size: the storage driver {driver} cannot limit a layer here (the drivers btrfs and zfs can, \
                 each on its file system)"
            ))),
        }
    }
}

/// Keeps layers on disk. File-system work only: which layers exist, what they are stacked on and which are
/// valid is the layer graph's business (engine/image), which passes the chain in with every call.
///
/// `parents` is always nearest first and complete. Any method may be called by several processes at once for
/// different layers; for one layer the caller holds a lock.
pub trait Driver: Send + Sync {
    fn name(&self) -> &'static str;

    /// Makes the empty writable layer `id` on top of `parents`. Not idempotent: an `id` that exists is a
    /// conflict. On an error nothing of it is left. An option that cannot be kept to is Unsupported.
    fn prepare(&self, id: &LayerId, parents: &[LayerId], options: &LayerOptions) -> Result<()>;

    /// The mounts that show `id` on top of `parents`, in order; the first one's target is `/`, and later ones of the
    /// same target are remounts that add to it. Mounts nothing, and may be called any number of times; the first
    /// call may have to make what is mounted (a chain flattened into one directory).
    fn mounts(&self, id: &LayerId, parents: &[LayerId], access: Access) -> Result<Vec<Mount>>;

    /// Seals `id`: brings its data to the disk (one sync a layer). Only after this returns may a record call
    /// the layer valid. Idempotent.
    fn commit(&self, id: &LayerId) -> Result<()>;

    fn usage(&self, id: &LayerId) -> Result<Usage>;

    /// Removes `id` and all its data. Idempotent: a layer that is not there is removed. The caller has made
    /// sure that nothing is stacked on it. Atomic to observers: first renamed away, then deleted.
    fn remove(&self, id: &LayerId) -> Result<()>;

    /// The layers found on disk, whole or half-made, so that leftovers can be told from known ones.
    fn list(&self) -> Result<Vec<LayerId>>;

    /// Deletes what interrupted removals left (renamed-away folders). Safe at any time.
    fn sweep(&self) -> Result<()>;

    /// Removes what is kept beside the layers and outside of the driver's folder, before that folder goes: called when no
    /// layer is left. Idempotent.
    fn dismantle(&self) -> Result<()> {
        Ok(())
    }

    /// The form in which this driver's layers say what they hide.
    fn whiteouts(&self) -> Whiteouts;

    /// The directory with what the layer itself holds, in the form of [`Driver::whiteouts`]. `None`: it shows only
    /// where it is mounted. For both: `mount::open_contents`.
    fn directory(&self, id: &LayerId) -> Result<Option<PathBuf>>;

    /// A faster way to find a layer's changes than comparing two whole trees.
    fn differ(&self) -> Option<&dyn Differ>;

    /// Filling a layer while those below it are being filled.
    fn inheritor(&self) -> Option<&dyn Inheritor> {
        None
    }

    /// What `info` shows of the driver besides what its probe found: names and values.
    fn status(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// How a layer says what it hides of those below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// Character devices 0/0 and `trusted.overlay.opaque`.
    Overlay,
    /// As [`Whiteouts::Overlay`] with `user.overlay.opaque`.
    OverlayUser,
    /// Empty files `.wh.NAME`, and `.wh..wh..opq` in a directory: as in archives, and so no other name begins with
    /// `.wh.` there.
    Aufs,
    /// The directory holds the whole merged tree: a whiteout deletes.
    Apply,
}

/// Finds changes of a layer without a full walk of two trees.
pub trait Differ {
    /// Calls `visit` with each change of `id` against `parents`, parents before children, sorted by name.
    fn changes(
        &self,
        id: &LayerId,
        parents: &[LayerId],
        visit: &mut dyn FnMut(Change<'_>) -> io::Result<()>,
    ) -> Result<()>;
}

/// Of a driver whose layers hold nothing of those below but the attributes of the root directory: they may be prepared and
/// filled in any order, one after the other or all at once.
pub trait Inheritor {
    /// Gives the root of `id`, which is filled, the attributes of its nearest parent's, and brings that to the disk. For a layer
    /// whose archive says nothing of the root ([`crate::diff::Unpacked::root`]), once its parent is filled. Idempotent.
    fn inherit(&self, id: &LayerId, parents: &[LayerId]) -> Result<()>;
}

/// One difference between a layer and what it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// Relative to the root, no leading slash.
    pub path: &'a Path,
    pub kind: ChangeKind,
}

/// Docker's three kinds (`C`, `A` and `D` of `docker diff`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ChangeKind {
    Modified,
    Added,
    Deleted,
}

/// One entry of the registry: how to try a driver on the file system under a state root, and how to open it.
pub struct Entry {
    pub name: &'static str,
    /// Tries the driver for real in a scratch folder below `root`. The detail is what was found
    /// (`native diff, d_type, ...`).
    pub probe: fn(root: &Path) -> Probe<Vec<String>>,
    /// As `probe`, when nobody asked for this driver: it may want to be named first.
    pub unasked: fn(root: &Path) -> Probe<Vec<String>>,
    /// Opens (and creates) the driver's folder `root/NAME`.
    pub open: fn(root: &Path) -> Result<Box<dyn Driver>>,
    /// The options of `[storage-options]` that are this driver's, if it has any.
    pub options: Option<&'static DriverOptions>,
    /// What choosing this driver costs the user, said once and loudly when it was not asked for.
    pub caution: Option<&'static str>,
}

/// Options of a storage driver, which are the whole state's.
pub struct DriverOptions {
    /// What their names begin with.
    pub prefix: &'static str,
    /// Refuses what means nothing.
    pub check: fn(&OptionPairs, ReadSize) -> Result<()>,
    /// Writes down in the state folder what is asked of the driver, before it is tried or opened there. Nothing is written if
    /// nothing is asked; what cannot be changed any more is refused.
    pub configure: fn(&Path, &OptionPairs, ReadSize) -> Result<()>,
}

/// Names and values, of all drivers.
pub type OptionPairs = std::collections::BTreeMap<String, String>;

/// Reads a size as people write it.
pub type ReadSize = fn(&str) -> Option<u64>;
