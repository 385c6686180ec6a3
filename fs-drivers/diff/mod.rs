//! Layers as archives: what a layer changed, packed as an OCI image layer (tar), and the way back.
//!
//! `changes.rs` finds what changed (by the driver's own way or by comparing two trees), `pack.rs` writes it,
//! `unpack.rs` reads hostile archives, `tar/` is the format, `split.rs` keeps what is needed to write an archive
//! again byte for byte. The tar format is handled here and not by the `tar` crate, which takes PAX records apart
//! at newlines and so loses binary attributes (capabilities), and hides the bytes between the entries.

mod changes;
mod compare;
mod owners;
mod pack;
mod split;
mod tar;
mod unpack;

pub use changes::changes;
pub(crate) use changes::compare_kin;
#[cfg(test)]
pub(crate) use changes::compare_whole;
pub(crate) use compare::{Kinship, Touched, compare_open, same};
pub use owners::Owners;
pub(crate) use owners::renumber;
pub use pack::{Packed, pack, pack_changes, pack_path, pack_tree};
pub use split::assemble;
pub use unpack::{FilesOptions, UnpackOptions, Unpacked, unpack, unpack_files};

/// The prefix of a whiteout's name (OCI image specification, "Representing changes").
pub(crate) const WHITEOUT: &[u8] = b".wh.";
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names of AUFS's own books: in its layers, and in very old images.
pub(crate) const AUFS: &[u8] = b".wh..wh.";
/// AUFS_MAX_NAMELEN (linux/aufs_type.h): room for two whiteout prefixes, a dot and four digits stays free.
pub(crate) const AUFS_NAME_MAX: usize = 242;
