//! The tables of subordinate numbers: subuid(5) and subgid(5).

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::FlockOperation;

/// First number and count.
pub(super) type Range = (u32, u32);

/// Where shadow's own programs begin.
const FIRST: u32 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Users,
    Groups,
}

impl Table {
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Users => "/etc/subuid",
            Self::Groups => "/etc/subgid",
        }
    }

    /// Of names and their numbers.
    fn accounts(self) -> &'static str {
        match self {
            Self::Users => "/etc/passwd",
            Self::Groups => "/etc/group",
        }
    }

    fn read(self) -> io::Result<String> {
        match std::fs::read_to_string(self.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        }
    }

    /// Of the lines for `whose`, a name or a number: by both, as the table may have either.
    pub(super) fn ranges(self, whose: &str) -> io::Result<Vec<Range>> {
        let accounts = std::fs::read_to_string(self.accounts()).unwrap_or_default();
        Ok(of(&self.read()?, &accounts, whose))
    }

    fn add(self, name: &str, (first, count): Range) -> io::Result<()> {
        let text = self.read()?;
        let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let mut file = File::options().append(true).create(true).mode(0o644).open(self.path())?;
        // In one write: nobody reads a part.
        file.write_all(format!("{newline}{name}:{first}:{count}\n").as_bytes())?;
        file.sync_data()
    }
}

fn of(table: &str, accounts: &str, whose: &str) -> Vec<Range> {
    let mut fields = accounts.lines().map(|line| line.split(':'));
    let found = fields.find_map(|mut fields| {
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (name == whose || number == whose).then_some([name, number])
    });
    let names = found.unwrap_or([whose, whose]);
    lines(table).filter(|(owner, _)| names.contains(owner)).map(|(_, range)| range).collect()
}

fn lines(table: &str) -> impl Iterator<Item = (&str, Range)> {
    table.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next().filter(|owner| !owner.is_empty() && !owner.starts_with('#'))?;
        let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (count > 0).then_some((owner, (first, count)))
    })
}

/// The lowest `size` numbers of `pool` that are in none of `taken`.
pub(super) fn gap(pool: &[Range], taken: &[Range], size: u32) -> Option<u32> {
    let end = |range: &Range| u64::from(range.0) + u64::from(range.1);
    let starts = pool.iter().map(|range| u64::from(range.0)).chain(taken.iter().map(end));
    let free = |start: &u64| {
        let stop = start + u64::from(size);
        let inside = pool.iter().any(|range| u64::from(range.0) <= *start && stop <= end(range));
        inside && !taken.iter().any(|range| u64::from(range.0) < stop && *start < end(range))
    };
    starts.filter(free).min().and_then(|start| start.try_into().ok())
}

/// Adds a line for `name` to both tables, with the same numbers, that nobody has in either; a table that has one stays.
pub(super) fn reserve(name: &str, count: u32) -> io::Result<()> {
    let _lock = lock_accounts();
    let tables = [Table::Users, Table::Groups];
    let mut taken = Vec::new();
    for table in tables {
        taken.extend(lines(&table.read()?).map(|(_, range)| range));
    }
    let pool = [(FIRST, u32::MAX - FIRST)];
    let first = gap(&pool, &taken, count).ok_or_else(|| io::Error::other(format!("no {count} numbers are free")))?;
    for table in tables {
        if table.ranges(name)?.is_empty() {
            table.add(name, (first, count))?;
        }
    }
    Ok(())
}

/// As programs do that change accounts (lckpwdf(3)). Who holds it, holds it for moments; without it, there are none.
fn lock_accounts() -> Option<File> {
    let lock = File::options().write(true).create(true).truncate(false).mode(0o600).open("/etc/.pwd.lock").ok()?;
    rustix::fs::fcntl_lock(&lock, FlockOperation::LockExclusive).ok()?;
    Some(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number_of_the_same_account() {
        let accounts = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        let table = "ann:100000:65536\n1000:300000:10\n# ann:1:1\nbob:5:5\nann:x:1\nann:7:0\n";
        for whose in ["ann", "1000"] {
            assert_eq!(of(table, accounts, whose), [(100_000, 65_536), (300_000, 10)], "{whose}");
        }
        assert_eq!(of(table, accounts, "bob"), [(5, 5)]);
        assert!(of(table, accounts, "berth").is_empty() && of(table, accounts, "").is_empty());
    }

    #[test]
    fn a_gap_is_the_lowest_that_nobody_has() {
        let pool = [(100, 100), (1000, 10)];
        assert_eq!(gap(&pool, &[], 10), Some(100));
        assert_eq!(gap(&pool, &[(100, 10), (115, 5)], 10), Some(120));
        assert_eq!(gap(&pool, &[(100, 10), (115, 5)], 5), Some(110));
        assert_eq!(gap(&pool, &[(0, 195)], 10), Some(1000));
        assert_eq!(gap(&pool, &[(0, u32::MAX)], 1), None);
        assert_eq!(gap(&[(u32::MAX - 5, 5)], &[], 6), None);
    }
}
