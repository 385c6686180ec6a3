//! What is said to the kernel.
//!
//! What is known stays good: layers below never change, and the upper one is changed through the union alone. So names, their
//! absence, attributes and pages may be kept as long as the kernel likes.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, Generation, INodeNo, ReplyEntry};

use super::attributes::file_attr;
use super::find::Found;

pub(super) const FOREVER: Duration = Duration::from_secs(1 << 30);
pub(super) const GENERATION: Generation = Generation(0);

/// One answer or the error, by the reply's own two methods.
macro_rules! answer {
    ($reply:ident, $result:expr, |$value:pat_param| $good:expr) => {
        match $result {
            Ok($value) => $good,
            Err(error) => $reply.error(fuser::Errno::from(std::io::Error::from(error))),
        }
    };
}
pub(super) use answer;

pub(super) fn entry(reply: ReplyEntry, found: &Found) {
    reply.entry(&FOREVER, &file_attr(found.id, &found.stat, &found.stack), GENERATION);
}

/// With number 0: that nothing has the name.
pub(super) fn absent() -> FileAttr {
    let zero = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: zero,
        mtime: zero,
        ctime: zero,
        crtime: zero,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}
