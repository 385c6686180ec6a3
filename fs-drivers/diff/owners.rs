//! Whom files belong to in an archive, where that is not whom they belong to on the disk.

use berth_arch::IdMap;

use crate::tree::{Meta, Xattrs};

/// For whom nobody inside is (the kernel's overflow number).
const NOBODY: u32 = 65_534;

/// Whose the files of an archive are.
#[derive(Debug, Clone, Copy, Default)]
pub enum Owners<'a> {
    #[default]
    AsTheyAre,
    /// This user's and this group's.
    All((u32, u32)),
    /// Those of a container with the mapping, by its own numbers.
    Inside(&'a IdMap),
}

impl Owners<'_> {
    pub(super) fn meta(self, meta: &Meta) -> Meta {
        let (uid, gid) = match self {
            Self::AsTheyAre => (meta.uid, meta.gid),
            Self::All(owner) => owner,
            Self::Inside(map) => {
                (map.user_inside(meta.uid).unwrap_or(NOBODY), map.group_inside(meta.gid).unwrap_or(NOBODY))
            }
        };
        Meta { uid, gid, ..meta.clone() }
    }

    pub(super) fn xattrs(self, mut xattrs: Xattrs) -> Xattrs {
        if let Self::Inside(map) = self {
            for (name, value) in &mut xattrs {
                renumber(name, value, |id| map.user_inside(id), |id| map.group_inside(id));
            }
        }
        xattrs
    }
}

/// Exchanges the numbers of users and groups in an attribute that has any. Those of nobody stay as they are: an access list
/// with them gives nothing to anybody.
pub(crate) fn renumber(
    name: &[u8],
    value: &mut Vec<u8>,
    user: impl Fn(u32) -> Option<u32>,
    group: impl Fn(u32) -> Option<u32>,
) {
    match name {
        b"system.posix_acl_access" | b"system.posix_acl_default" => access_list(value, user, group),
        b"security.capability" => capabilities(value, user),
        _ => {}
    }
}

/// linux/posix_acl_xattr.h: a version, then entries of tag, permissions and number.
fn access_list(value: &mut [u8], user: impl Fn(u32) -> Option<u32>, group: impl Fn(u32) -> Option<u32>) {
    const USER: u16 = 0x02;
    const GROUP: u16 = 0x08;
    for entry in value.get_mut(4..).into_iter().flat_map(|entries| entries.chunks_exact_mut(8)) {
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let other = match u16::from_le_bytes([entry[0], entry[1]]) {
            USER => user(id),
            GROUP => group(id),
            _ => None,
        };
        if let Some(other) = other {
            entry[4..].copy_from_slice(&other.to_le_bytes());
        }
    }
}

/// linux/capability.h, `struct vfs_ns_cap_data`: the third revision (4.14) ends with the number of the root user for whom they
/// count. For that of no user namespace they are of the second.
fn capabilities(value: &mut Vec<u8>, user: impl Fn(u32) -> Option<u32>) {
    const REVISIONS: u32 = 0xff00_0000;
    const SECOND: u32 = 0x0200_0000;
    const THIRD: u32 = 0x0300_0000;
    let Ok(bytes) = <[u8; 24]>::try_from(value.as_slice()) else { return };
    let first = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let root = u32::from_le_bytes([bytes[20], bytes[21], bytes[22], bytes[23]]);
    if first & REVISIONS != THIRD {
        return;
    }
    match user(root) {
        Some(0) => {
            value.truncate(20);
            value[..4].copy_from_slice(&(first & !REVISIONS | SECOND).to_le_bytes());
        }
        Some(other) => value[20..].copy_from_slice(&other.to_le_bytes()),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> IdMap {
        "u:0:100000:100 g:0:200000:100".parse().unwrap()
    }

    #[test]
    fn lists_and_capabilities_get_the_numbers_inside() {
        let entry = |tag: u16, id: u32| [&tag.to_le_bytes()[..], &[6, 0], &id.to_le_bytes()].concat();
        let list = |user: u32, group: u32| {
            let entries = [entry(1, u32::MAX), entry(2, user), entry(8, group), entry(2, 7)];
            [&2u32.to_le_bytes()[..], &entries.concat()].concat()
        };
        let capability = [&0x0300_0001u32.to_le_bytes()[..], &[1; 16], &100_000u32.to_le_bytes()].concat();
        let found = Owners::Inside(&map()).xattrs(vec![
            (b"security.capability".to_vec(), capability),
            (b"system.posix_acl_access".to_vec(), list(100_005, 200_006)),
            (b"user.x".to_vec(), list(100_005, 200_006)),
        ]);
        assert_eq!(found[0].1, [&0x0200_0001u32.to_le_bytes()[..], &[1; 16]].concat());
        assert_eq!(found[1].1, list(5, 6));
        assert_eq!(found[2].1, list(100_005, 200_006));
        for odd in [&b""[..], b"x", &[0; 24]] {
            let mut value = odd.to_vec();
            renumber(b"security.capability", &mut value, |_| Some(1), |_| Some(1));
            renumber(b"system.posix_acl_access", &mut value, |_| Some(1), |_| Some(1));
            assert_eq!(value, odd);
        }
    }
}
