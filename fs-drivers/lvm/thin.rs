//! The words of the targets `thin-pool` and `thin` (the kernel's admin-guide/device-mapper/thin-provisioning), and numbers of
//! thin devices.

use rustix::io::Errno;

use super::dm::{Control, Target};
use crate::Result;
use crate::error::At;

pub(super) const SECTOR: u64 = 512;
/// Bytes that a pool of ours shares and hands out at a time, the least that there can be.
pub(super) const BLOCK: u64 = 64 << 10;
/// Bytes of a block of a pool's metadata.
pub(super) const METADATA_BLOCK: u64 = 4096;

const POOL: &str = "thin-pool";
const THIN: &str = "thin";

/// Our devices have the upper half of the 24 bits: LVM counts its own up from 0, and would stumble over others there.
const NUMBERS: u32 = 0x80_0000;

/// A number for a new device, that is in use by chance only.
pub(super) fn any_number() -> Result<u32> {
    let mut random = [0_u8; 4];
    berth_arch::random::fill(&mut random).at("read random bytes for", THIN)?;
    Ok(NUMBERS | (u32::from_ne_bytes(random) & (NUMBERS - 1)))
}

/// `MAJOR:MINOR`.
fn number(device: u64) -> String {
    format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device))
}

/// A pool of two block devices. Blocks are zeroed before they are handed out (no `skip_block_zeroing`): what another
/// container wrote must not be seen, least of all as a part of a journal. A writer that finds the pool full has an error at
/// once instead of waiting for somebody to extend it.
pub(super) fn pool_target(metadata: u64, data: u64, bytes: u64) -> Target {
    let (metadata, data, block) = (number(metadata), number(data), BLOCK / SECTOR);
    let words = format!("{metadata} {data} {block} 0 1 error_if_no_space");
    Target { kind: POOL.to_owned(), sectors: bytes / SECTOR, words }
}

pub(super) fn thin_target(pool: u64, id: u32, bytes: u64) -> Target {
    Target { kind: THIN.to_owned(), sectors: bytes / SECTOR, words: format!("{} {id}", number(pool)) }
}

/// What a pool's table says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PoolTable {
    pub(super) data: u64,
    /// Bytes.
    pub(super) block: u64,
    pub(super) zeroes: bool,
}

impl PoolTable {
    /// `None` for what is no pool.
    pub(super) fn parse(target: &Target) -> Option<Self> {
        let mut words = target.words.split_whitespace();
        let (_metadata, data) = (words.next()?, words.next()?);
        let (major, minor) = data.split_once(':')?;
        let sectors: u64 = words.next()?.parse().ok()?;
        (target.kind == POOL).then_some(Self {
            data: rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?),
            block: sectors * SECTOR,
            zeroes: !target.words.contains("skip_block_zeroing"),
        })
    }
}

/// What a pool's status says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PoolStatus {
    /// Of 4 KiB: used and all.
    pub(super) metadata: (u64, u64),
    /// Of the pool's size: used and all.
    pub(super) data: (u64, u64),
    /// What the pool can no longer do, if there is something.
    pub(super) trouble: Option<&'static str>,
    /// Whether a writer that finds it full has an error at once.
    pub(super) errors_when_full: bool,
}

impl PoolStatus {
    pub(super) fn parse(target: &Target) -> Option<Self> {
        if target.kind != POOL {
            return None;
        }
        let words: Vec<&str> = target.words.split_whitespace().collect();
        let pair = |word: &str| {
            let (used, all) = word.split_once('/')?;
            Some((used.parse().ok()?, all.parse().ok()?))
        };
        let has = |word: &str| words.contains(&word);
        let trouble = match words[..] {
            // It says no more than that.
            ["Fail"] | ["Error"] => Some("has failed"),
            _ if has("needs_check") => Some("needs a check (thin_check, lvconvert --repair)"),
            _ if has("ro") => Some("is read-only"),
            _ => None,
        };
        let count = |index: usize| words.get(index).and_then(|word| pair(word));
        let full = trouble.is_some() && words.len() == 1;
        Some(Self {
            metadata: if full { (0, 0) } else { count(1)? },
            data: if full { (0, 0) } else { count(2)? },
            trouble,
            errors_when_full: has("error_if_no_space"),
        })
    }
}

/// Sectors that a thin device has in its pool.
pub(super) fn mapped(target: &Target) -> Option<u64> {
    target.words.split_whitespace().next().filter(|_| target.kind == THIN)?.parse().ok()
}

/// Makes a device that reads as zeros. EEXIST if there is one of that number.
pub(super) fn create(control: &Control, pool: &str, id: u32) -> Result<(), Errno> {
    control.message(pool, &format!("create_thin {id}"))
}

/// Makes a device that reads as `origin` does, which must not be written to meanwhile.
pub(super) fn snapshot(control: &Control, pool: &str, id: u32, origin: u32) -> Result<(), Errno> {
    control.message(pool, &format!("create_snap {id} {origin}"))
}

/// Removes a device that is not in use. One that is not there is removed.
pub(super) fn delete(control: &Control, pool: &str, id: u32) -> Result<(), Errno> {
    match control.message(pool, &format!("delete {id}")) {
        Err(Errno::NODATA) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(words: &str) -> Target {
        Target { kind: POOL.to_owned(), sectors: 8, words: words.to_owned() }
    }

    #[test]
    fn what_kernels_say_of_pools_is_read() {
        let status = |words: &str| PoolStatus::parse(&pool(words)).unwrap();
        let well = status("1 12/1024 30/16384 - rw discard_passdown error_if_no_space - 1024");
        assert_eq!((well.metadata, well.data), ((12, 1024), (30, 16384)));
        assert!(well.errors_when_full && well.trouble.is_none());
        let full = status("0 12/1024 16384/16384 - out_of_data_space discard_passdown queue_if_no_space - 1024");
        assert!(!full.errors_when_full && full.trouble.is_none());
        assert!(
            status("0 1/2 3/4 - ro discard_passdown queue_if_no_space needs_check 5")
                .trouble
                .unwrap()
                .contains("check")
        );
        // Before 3.14.
        assert_eq!(status("0 1/2 3/4 - rw discard_passdown").data, (3, 4));
        assert_eq!(status("Fail").trouble, Some("has failed"));
        assert_eq!(PoolStatus::parse(&Target { kind: "linear".to_owned(), ..pool("7:0 0") }), None);
        let table = PoolTable::parse(&pool("7:0 7:1 128 0 2 skip_block_zeroing error_if_no_space")).unwrap();
        assert_eq!((table.data, table.block, table.zeroes), (rustix::fs::makedev(7, 1), 65536, false));
        assert_eq!(PoolTable::parse(&pool_target(1, 2, 1 << 20)).unwrap().block, BLOCK);
        assert_eq!(mapped(&thin_target(0, 5, 0)), None);
        assert_eq!(mapped(&Target { words: "17280 204799".to_owned(), ..thin_target(0, 5, 0) }), Some(17280));
    }

    #[test]
    fn numbers_are_of_the_upper_half() {
        for _ in 0..100 {
            let number = any_number().unwrap();
            assert!((0x80_0000..0x100_0000).contains(&number));
        }
    }
}
