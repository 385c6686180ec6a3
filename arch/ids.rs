//! Which users and groups there are in this process's user namespace (user_namespaces(7)).

use std::io;

use rustix::io::Errno;

/// Ranges of numbers: first and count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    users: Vec<(u32, u32)>,
    groups: Vec<(u32, u32)>,
}

impl Ids {
    /// All there are, on kernels without user namespaces. One that others write meanwhile is not there yet.
    pub fn here() -> Self {
        let read = |kind: &str| match std::fs::read_to_string(format!("/proc/self/{kind}_map")) {
            Ok(map) => ranges(&map),
            Err(_) => vec![(0, u32::MAX)],
        };
        Self { users: read("uid"), groups: read("gid") }
    }

    pub fn has_user(&self, number: u32) -> bool {
        holds(&self.users, number)
    }

    pub fn has_group(&self, number: u32) -> bool {
        holds(&self.groups, number)
    }

    /// Root alone, whom nothing else could belong to.
    pub fn is_single(&self) -> bool {
        [&self.users, &self.groups].iter().all(|ranges| matches!(ranges.as_slice(), [(0, 1)]))
    }

    /// The highest group that there is without a gap from 0.
    pub fn last_group(&self) -> u32 {
        let mut ranges = self.groups.clone();
        ranges.sort_unstable();
        let reaching = |end: u32, &(first, count): &(u32, u32)| {
            if first <= end { end.max(first.saturating_add(count)) } else { end }
        };
        ranges.iter().fold(0, reaching).saturating_sub(1)
    }

    /// What is said of somebody who is not there.
    pub fn missing(what: &str) -> String {
        format!(
            "{what} is not among the users and groups of this user namespace; as root of the host, install uidmap, and \
             give this user a larger range in /etc/subuid and /etc/subgid"
        )
    }

    /// For `answer`, the kernel's when a file was given to `user` and `group`: where root is alone, it stays root's.
    pub fn settle(&self, answer: rustix::io::Result<()>, user: u32, group: u32) -> io::Result<()> {
        match answer {
            Err(Errno::INVAL) if self.is_single() => Ok(()),
            Err(Errno::INVAL) if !self.has_user(user) || !self.has_group(group) => {
                Err(io::Error::other(Self::missing(&format!("the owner {user}:{group}"))))
            }
            other => Ok(other?),
        }
    }
}

/// What the user namespace above calls this process's user; for names in places that all users share.
pub fn own_number_outside() -> u32 {
    let own = rustix::process::geteuid().as_raw();
    std::fs::read_to_string("/proc/self/uid_map").ok().and_then(|map| outside(&map, own)).unwrap_or(own)
}

fn outside(map: &str, number: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().map(|field| field.parse::<u32>().ok());
        let (first, above, count) = (fields.next()??, fields.next()??, fields.next()??);
        (number >= first && number - first < count).then(|| above + (number - first))
    })
}

fn ranges(map: &str) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        Some((fields.next()?.parse().ok()?, fields.nth(1)?.parse().ok()?))
    };
    map.lines().filter_map(range).collect()
}

fn holds(ranges: &[(u32, u32)], number: u32) -> bool {
    ranges.iter().any(|&(first, count)| number >= first && number - first < count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_there_is_read_from_the_maps() {
        let text = "         0       4242          1\n         1     200000      65536\n";
        let map = ranges(text);
        assert_eq!((outside(text, 0), outside(text, 1000), outside(text, 70_000)), (Some(4242), Some(200_999), None));
        assert_eq!(map, [(0, 1), (1, 65_536)]);
        let ids = Ids { users: map.clone(), groups: map };
        assert!(ids.has_user(0) && ids.has_user(65_536) && !ids.has_user(65_537) && !ids.is_single());
        assert_eq!(ids.last_group(), 65_536);
        let refused = ids.settle(Err(Errno::INVAL), 70_000, 0).unwrap_err().to_string();
        assert!(refused.contains("70000:0") && refused.contains("/etc/subuid"), "{refused}");
        assert!(ids.settle(Err(Errno::INVAL), 1, 1).is_err() && ids.settle(Ok(()), 1, 1).is_ok());
    }

    #[test]
    fn what_belongs_to_others_is_roots_where_it_is_alone() {
        let alone = Ids { users: vec![(0, 1)], groups: vec![(0, 1)] };
        assert!(alone.is_single() && alone.settle(Err(Errno::INVAL), 5, 5).is_ok());
        assert!(alone.settle(Err(Errno::PERM), 5, 5).is_err());
        assert_eq!(alone.last_group(), 0);
    }

    #[test]
    fn everybody_is_there_outside() {
        let all = Ids { users: vec![(0, u32::MAX)], groups: vec![(0, u32::MAX)] };
        assert!(all.has_user(4_000_000_000) && all.last_group() == u32::MAX - 1);
    }
}
