//! Users of a container's own: which of the host's numbers they get (`userns-remap`, `--userns`).
//!
//! `subids.rs` reads and reserves ranges of subuid(5) and subgid(5). A container keeps what it got; where its files get their
//! owners from is the layers' business (engine/image, `given.rs`).

mod subids;

use berth_arch::{IdMap, Ids};
use berth_store::Lock;

use self::subids::{Range, Table};
use crate::settings::users::Users;
use crate::{Engine, Error, Result};

/// What they are called in the tables by default, and those of containers with ranges of their own.
const NAME: &str = "berth";
const NAME_OF_POOL: &str = "berth-auto";

/// Numbers of a container by default.
const SIZE: u32 = 1 << 16;
/// Containers that the pool is for.
const POOL: u32 = 64;

/// The mapping of a container that is being made. Nobody else gets the same range as long as the lock is held.
pub(crate) struct Mapping {
    pub map: IdMap,
    _lock: Option<Lock>,
}

impl Engine {
    /// `None`: the container has the host's users.
    pub(crate) fn mapping(&self, users: &Users) -> Result<Option<Mapping>> {
        match users {
            Users::Host => Ok(None),
            Users::Remap(whose) => Ok(Some(Mapping { map: self.remap(whose)?, _lock: None })),
            Users::Auto(size) => self.range_of_its_own(size.unwrap_or(SIZE)).map(Some),
        }
    }

    /// The mapping of `userns-remap`. `default` makes its ranges if there are none.
    pub(crate) fn remap(&self, whose: &str) -> Result<IdMap> {
        let (user, group) =
            if whose == "default" { (NAME, NAME) } else { whose.split_once(':').unwrap_or((whose, whose)) };
        let mut ranges = [self.ranges(Table::Users, user)?, self.ranges(Table::Groups, group)?];
        if whose == "default" && ranges.iter().any(Vec::is_empty) {
            self.reserve(NAME, SIZE)?;
            ranges = [self.ranges(Table::Users, user)?, self.ranges(Table::Groups, group)?];
        }
        for ((table, name), ranges) in [(Table::Users, user), (Table::Groups, group)].into_iter().zip(&ranges) {
            if ranges.is_empty() {
                return Err(Error::invalid(format!(
                    "userns-remap {whose}: {} has no range of {name}; add a line ({name}:100000:65536) to /etc/subuid and \
                     /etc/subgid, or set userns-remap = \"default\"",
                    table.path()
                )));
            }
        }
        let map = IdMap::from_ranges(&ranges[0], &ranges[1]);
        here(map.map_err(|why| Error::invalid(format!("userns-remap {whose}: /etc/subuid and /etc/subgid: {why}")))?)
    }

    /// On the host, the root user of containers that do not say whose users they have; `None`: the host's own.
    pub(crate) fn usual_root(&self) -> Result<Option<(u32, u32)>> {
        match &self.config().userns_remap {
            Some(whose) if berth_rootless::inside().is_none() => Ok(self.remap(whose)?.root()),
            _ => Ok(None),
        }
    }

    /// The first range of the pool that no other container has.
    fn range_of_its_own(&self, size: u32) -> Result<Mapping> {
        let lock = Lock::acquire(&self.paths().locks(), "users")?;
        let mut pools = [self.ranges(Table::Users, NAME_OF_POOL)?, self.ranges(Table::Groups, NAME_OF_POOL)?];
        if pools.iter().any(Vec::is_empty) {
            self.reserve(NAME_OF_POOL, SIZE * POOL)?;
            pools = [self.ranges(Table::Users, NAME_OF_POOL)?, self.ranges(Table::Groups, NAME_OF_POOL)?];
        }
        let taken: Vec<IdMap> = self.store().read(|connection| {
            let mut statement = connection.prepare("SELECT users FROM containers WHERE users IS NOT NULL")?;
            let texts = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            Ok::<_, Error>(texts.iter().filter_map(|text| text.parse().ok()).collect())
        })?;
        let outside = |extents: &[berth_arch::id_map::Extent]| -> Vec<Range> {
            extents.iter().map(|extent| (extent.outside, extent.count)).collect()
        };
        let users: Vec<Range> = taken.iter().flat_map(|map| outside(map.users())).collect();
        let groups: Vec<Range> = taken.iter().flat_map(|map| outside(map.groups())).collect();
        let free = subids::gap(&pools[0], &users, size).zip(subids::gap(&pools[1], &groups, size));
        let (user, group) = free.ok_or_else(|| {
            Error::Unavailable(format!(
                "--userns auto: no {size} numbers of {NAME_OF_POOL} in /etc/subuid and /etc/subgid are free: remove \
                 containers, give it a larger range there, or ask for less (--userns auto:size=N)"
            ))
        })?;
        let map = IdMap::from_ranges(&[(user, size)], &[(group, size)]);
        let map = here(map.map_err(|why| Error::invalid(format!("--userns auto: {why}")))?)?;
        Ok(Mapping { map, _lock: Some(lock) })
    }

    fn ranges(&self, table: Table, name: &str) -> Result<Vec<Range>> {
        table.ranges(name).map_err(Error::io("read", table.path()))
    }

    /// Adds ranges for `name` where it has none.
    fn reserve(&self, name: &str, count: u32) -> Result<()> {
        let _lock = Lock::acquire(&self.paths().locks(), "subids")?;
        subids::reserve(name, count).map_err(|error| {
            Error::Unavailable(format!(
                "add a range for {name} to /etc/subuid and /etc/subgid: {error}; add a line {name}:FIRST:{count} to both, of \
                 numbers that nobody has"
            ))
        })
    }
}

/// In a user namespace, as in a container, not all numbers are there.
fn here(map: IdMap) -> Result<IdMap> {
    let ids = Ids::here();
    let there = |first: u32, count: u32, has: &dyn Fn(u32) -> bool| has(first) && has(first + (count - 1));
    let users = map.users().iter().all(|one| there(one.outside, one.count, &|id| ids.has_user(id)));
    let groups = map.groups().iter().all(|one| there(one.outside, one.count, &|id| ids.has_group(id)));
    if users && groups { Ok(map) } else { Err(Error::Unavailable(Ids::missing(&format!("the mapping {map}")))) }
}
