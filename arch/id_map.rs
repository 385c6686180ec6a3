//! Whom the users and groups of a user namespace are outside of it (user_namespaces(7)).

use std::fmt;
use std::str::FromStr;

/// Numbers that follow each other inside and outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

impl Extent {
    fn holds(first: u32, count: u32, id: u32) -> bool {
        id >= first && id - first < count
    }

    /// Whether both have a number in common, inside or outside.
    fn meets(&self, other: &Self) -> bool {
        let overlap = |a: u32, b: u32| Self::holds(a, self.count, b) || Self::holds(b, other.count, a);
        overlap(self.inside, other.inside) || overlap(self.outside, other.outside)
    }
}

/// A mapping of users and groups. As text it is what mount(8) takes for `X-mount.idmap`: `u:INSIDE:OUTSIDE:COUNT` for users,
/// `g:...` for groups, separated by spaces.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdMap {
    users: Vec<Extent>,
    groups: Vec<Extent>,
}

/// Extents of a kind that the kernel takes (340 since 4.15, 5 before).
pub const EXTENTS_MAX: usize = 340;

impl IdMap {
    /// An error says what the kernel would refuse.
    pub fn new(users: Vec<Extent>, groups: Vec<Extent>) -> Result<Self, String> {
        for (kind, extents) in [("users", &users), ("groups", &groups)] {
            if extents.is_empty() {
                return Err(format!("no {kind} are mapped"));
            }
            if extents.len() > EXTENTS_MAX {
                return Err(format!("more than {EXTENTS_MAX} ranges of {kind}"));
            }
            for (index, extent) in extents.iter().enumerate() {
                let fits = |first: u32| first.checked_add(extent.count).is_some();
                if extent.count == 0 || !fits(extent.inside) || !fits(extent.outside) {
                    return Err(format!("the range {}:{}:{} of {kind}", extent.inside, extent.outside, extent.count));
                }
                if extents[..index].iter().any(|other| other.meets(extent)) {
                    return Err(format!("two ranges of {kind} have numbers in common"));
                }
            }
        }
        Ok(Self { users, groups })
    }

    /// `ranges` (first and count), one after the other from 0 on inside.
    pub fn from_ranges(users: &[(u32, u32)], groups: &[(u32, u32)]) -> Result<Self, String> {
        let extents = |ranges: &[(u32, u32)]| {
            let mut next: u32 = 0;
            let extent = |&(outside, count): &(u32, u32)| {
                let inside = next;
                next = next.saturating_add(count);
                Extent { inside, outside, count }
            };
            ranges.iter().map(extent).collect()
        };
        Self::new(extents(users), extents(groups))
    }

    pub fn users(&self) -> &[Extent] {
        &self.users
    }

    pub fn groups(&self) -> &[Extent] {
        &self.groups
    }

    pub fn user_outside(&self, id: u32) -> Option<u32> {
        outside(&self.users, id)
    }

    pub fn group_outside(&self, id: u32) -> Option<u32> {
        outside(&self.groups, id)
    }

    pub fn user_inside(&self, id: u32) -> Option<u32> {
        inside(&self.users, id)
    }

    pub fn group_inside(&self, id: u32) -> Option<u32> {
        inside(&self.groups, id)
    }

    /// User and group of the root user outside; `None` if it is not mapped.
    pub fn root(&self) -> Option<(u32, u32)> {
        Some((self.user_outside(0)?, self.group_outside(0)?))
    }
}

fn outside(extents: &[Extent], id: u32) -> Option<u32> {
    let found = extents.iter().find(|one| Extent::holds(one.inside, one.count, id))?;
    Some(found.outside + (id - found.inside))
}

fn inside(extents: &[Extent], id: u32) -> Option<u32> {
    let found = extents.iter().find(|one| Extent::holds(one.outside, one.count, id))?;
    Some(found.inside + (id - found.outside))
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.users.iter().map(|one| ('u', one)).chain(self.groups.iter().map(|one| ('g', one)));
        for (index, (kind, Extent { inside, outside, count })) in all.enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{kind}:{inside}:{outside}:{count}")?;
        }
        Ok(())
    }
}

impl FromStr for IdMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut users, mut groups) = (Vec::new(), Vec::new());
        for word in text.split_ascii_whitespace() {
            let invalid = || format!("{word:?} is no range of users (u:INSIDE:OUTSIDE:COUNT) or groups (g:...)");
            let mut fields = word.split(':');
            let list = match fields.next() {
                Some("u") => &mut users,
                Some("g") => &mut groups,
                _ => return Err(invalid()),
            };
            let mut number = || fields.next().and_then(|field| field.parse().ok()).ok_or_else(invalid);
            let extent = Extent { inside: number()?, outside: number()?, count: number()? };
            if fields.next().is_some() {
                return Err(invalid());
            }
            list.push(extent);
        }
        Self::new(users, groups)
    }
}

impl TryFrom<String> for IdMap {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<IdMap> for String {
    fn from(map: IdMap) -> Self {
        map.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_on_both_sides_of_several_ranges() {
        let map = IdMap::from_ranges(&[(100_000, 1000), (300_000, 10)], &[(500, 5)]).unwrap();
        assert_eq!(map.to_string(), "u:0:100000:1000 u:1000:300000:10 g:0:500:5");
        assert_eq!(map.to_string().parse::<IdMap>().unwrap(), map);
        assert_eq!((map.user_outside(999), map.user_outside(1001)), (Some(100_999), Some(300_001)));
        assert_eq!((map.user_outside(1010), map.group_outside(5)), (None, None));
        assert_eq!((map.user_inside(300_009), map.user_inside(0), map.group_inside(504)), (Some(1009), None, Some(4)));
        assert_eq!(map.root(), Some((100_000, 500)));
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused() {
        for text in [
            "",
            "u:0:1:1",
            "u:0:1:0 g:0:1:1",
            "u:0:4294967295:2 g:0:1:1",
            "u:0:10:5 u:5:12:5 g:0:1:1",
            "u:0:10:5 u:4:100:5 g:0:1:1",
            "u:0:1:1:1 g:0:1:1",
            "x:0:1:1 g:0:1:1",
            "u:0:-1:1 g:0:1:1",
        ] {
            assert!(text.parse::<IdMap>().is_err(), "{text}");
        }
    }
}
