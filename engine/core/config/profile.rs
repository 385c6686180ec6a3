//! `[when.CONDITION.VALUE]`: settings for the hosts that are so. Which of a file's profiles hold is a function of [`Facts`]
//! alone; conditions combine by standing in one another (`[when.arch.arm.when.memory."<=512MB"]`: both).

use std::cell::OnceCell;
use std::cmp::Ordering;

use berth_arch::emulation::MACHINES;
use berth_arch::host::{self, Platform};
use berth_arch::kernel::cgroup::{Cgroups, Layout};

use super::nearest::did_you_mean;
use crate::settings::log::bytes;

/// What conditions ask about.
#[derive(Debug, Clone)]
pub struct Facts {
    pub platform: Platform,
    /// As uname(2) has it.
    pub kernel: String,
    /// Bytes that the kernel has, which is somewhat less than what is built in.
    pub memory: u64,
    pub host: String,
    /// Whether the engine is an ordinary user's.
    pub rootless: bool,
    /// Looked for when it is asked for: it takes more than all the others.
    cgroup: OnceCell<&'static str>,
}

/// One condition, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    Arch { architecture: String, variant: Option<String> },
    Kernel(Vec<(Relation, Vec<u64>)>),
    Memory(Vec<(Relation, u64)>),
    Host(String),
    Cgroup(&'static str),
    Rootless(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
}

/// The names after `when`, with an example each.
pub const CONDITIONS: &[(&str, &str)] = &[
    ("arch", "arm"),
    ("kernel", "\"<4.0\""),
    ("memory", "\"<=512MB\""),
    ("host", "\"nas-*\""),
    ("cgroup", "v1"),
    ("rootless", "true"),
];

/// OCI's names (Go's GOARCH).
fn architectures() -> impl Iterator<Item = &'static str> {
    MACHINES.iter().map(|machine| machine.architecture)
}

/// The kernel's and the distributions' names for them.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("x86_64", "amd64"),
    ("i386", "386"),
    ("i686", "386"),
    ("aarch64", "arm64"),
    ("armv6l", "arm/v6"),
    ("armv7l", "arm/v7"),
    ("armhf", "arm/v7"),
    ("armel", "arm/v6"),
];

/// Those that [`Platform::of`] tells.
const VARIANTS: &[(&str, &[&str])] = &[("arm", &["v5", "v6", "v7", "v8"]), ("arm64", &["v8"])];

const LAYOUTS: &[Layout] = &[Layout::V1, Layout::V2, Layout::Hybrid, Layout::None];

impl Facts {
    /// This host's; two system calls.
    pub fn here() -> Self {
        let name = rustix::system::uname();
        Self {
            platform: Platform::of(&name.machine().to_string_lossy()),
            kernel: name.release().to_string_lossy().into_owned(),
            memory: host::memory(),
            host: name.nodename().to_string_lossy().into_owned(),
            rootless: berth_rootless::owner().is_some(),
            cgroup: OnceCell::new(),
        }
    }

    pub fn cgroup(&self) -> &'static str {
        self.cgroup.get_or_init(|| Cgroups::detect().map_or(Layout::None, |found| found.layout).name())
    }

    /// Another host's: `arch=arm/v7,kernel=3.10,memory=256MB,host=nas-1,cgroup=v1,rootless=true`; what is not said is this host's.
    pub fn pretend(&mut self, text: &str) -> Result<(), String> {
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?}: NAME=VALUE is wanted"))?;
            match name {
                "arch" => {
                    let (architecture, variant) = architecture(value)?;
                    self.platform = Platform { os: self.platform.os.clone(), architecture, variant };
                }
                "kernel" => {
                    numbers(value.split(['-', '+', '~']).next().unwrap_or_default())
                        .ok_or_else(|| wrong(value, "a version, as 4.19"))?;
                    self.kernel = value.to_owned();
                }
                "memory" => self.memory = size(value).ok_or_else(|| wrong(value, "a size, as 512MB"))?,
                "host" => self.host = value.to_owned(),
                "cgroup" => self.cgroup = OnceCell::from(layout(value)?),
                "rootless" => self.rootless = flag(value)?,
                other => return Err(unknown(other)),
            }
        }
        Ok(())
    }
}

impl Condition {
    /// `name` and `value` are the two words after `when`.
    pub(super) fn parse(name: &str, value: &str) -> Result<Self, String> {
        Ok(match name {
            "arch" => {
                let (architecture, variant) = architecture(value)?;
                Self::Arch { architecture, variant }
            }
            "kernel" => Self::Kernel(bounds(value, numbers, "a version with <, <=, >, >= or =, as \"<4.0\"")?),
            "memory" => Self::Memory(bounds(value, size, "a size with <, <=, >, >= or =, as \"<=512MB\"")?),
            "host" if !value.is_empty() => Self::Host(value.to_owned()),
            "host" => return Err(wrong(value, "a host's name, with * and ?")),
            "cgroup" => Self::Cgroup(layout(value)?),
            "rootless" => Self::Rootless(flag(value)?),
            other => return Err(unknown(other)),
        })
    }

    pub(super) fn holds(&self, facts: &Facts) -> bool {
        match self {
            Self::Arch { architecture, variant } => {
                *architecture == facts.platform.architecture
                    && (variant.is_none() || *variant == facts.platform.variant)
            }
            Self::Kernel(bounds) => {
                let here: Vec<u64> = leading(&facts.kernel);
                bounds.iter().all(|(relation, version)| {
                    let digits = |index| here.get(index).copied().unwrap_or(0);
                    // As many numbers as were said: 4.19.7 is 4.19, and not more than that.
                    let here: Vec<u64> = (0..version.len()).map(digits).collect();
                    relation.holds(here.cmp(version))
                })
            }
            Self::Memory(bounds) => bounds.iter().all(|(relation, size)| relation.holds(facts.memory.cmp(size))),
            Self::Host(pattern) => matches(pattern.as_bytes(), facts.host.as_bytes()),
            Self::Cgroup(layout) => *layout == facts.cgroup(),
            Self::Rootless(wanted) => *wanted == facts.rootless,
        }
    }
}

impl Relation {
    fn holds(self, found: Ordering) -> bool {
        match self {
            Self::Less => found.is_lt(),
            Self::AtMost => found.is_le(),
            Self::More => found.is_gt(),
            Self::AtLeast => found.is_ge(),
            Self::Equal => found.is_eq(),
        }
    }
}

fn wrong(value: &str, wanted: &str) -> String {
    format!("{value:?}: {wanted} is wanted")
}

fn unknown(name: &str) -> String {
    let known = || CONDITIONS.iter().map(|(name, _)| *name);
    format!(
        "{name}: there is no such condition{}; the known ones are {}",
        did_you_mean(name, known()),
        known().collect::<Vec<_>>().join(", ")
    )
}

fn flag(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| wrong(value, "true or false"))
}

fn layout(value: &str) -> Result<&'static str, String> {
    LAYOUTS
        .iter()
        .map(|layout| layout.name())
        .find(|name| *name == value)
        .ok_or_else(|| wrong(value, "one of v1, v2, hybrid, none"))
}

/// `arm`, or `arm/v7`.
fn architecture(value: &str) -> Result<(String, Option<String>), String> {
    let (name, variant) = match value.split_once('/') {
        Some((name, variant)) => (name, Some(variant.to_owned())),
        None => (value, None),
    };
    if architectures().any(|known| known == name) {
        let known = VARIANTS.iter().find(|(of, _)| *of == name).map_or(&[][..], |(_, variants)| variants);
        return match variant {
            Some(wrong) if !known.contains(&wrong.as_str()) => Err(match known {
                [] => format!("{value:?}: {name} is not told apart any further; leave the variant out"),
                known => format!("{value:?}: there is no such variant; {name} has {}", known.join(", ")),
            }),
            variant => Ok((name.to_owned(), variant)),
        };
    }
    let meant = match OTHER_NAMES.iter().find(|(other, _)| *other == name) {
        Some((_, ours)) => format!("; it is {ours} here"),
        None => did_you_mean(name, architectures()),
    };
    let known: Vec<_> = architectures().collect();
    Err(format!("{value:?}: there is no such architecture{meant}; the known ones are {}", known.join(", ")))
}

/// One or several, all of which have to hold, separated by commas. Without a sign, it is `=`.
fn bounds<T>(text: &str, read: fn(&str) -> Option<T>, wanted: &str) -> Result<Vec<(Relation, T)>, String> {
    // The longer ones first.
    const SIGNS: &[(&str, Relation)] = &[
        ("<=", Relation::AtMost),
        (">=", Relation::AtLeast),
        ("==", Relation::Equal),
        ("<", Relation::Less),
        (">", Relation::More),
        ("=", Relation::Equal),
    ];
    let one = |part: &str| {
        let part = part.trim();
        let sign = SIGNS.iter().find_map(|(sign, relation)| Some((*relation, part.strip_prefix(sign)?)));
        let (relation, rest) = sign.unwrap_or((Relation::Equal, part));
        read(rest.trim()).map(|value| (relation, value))
    };
    text.split(',').map(one).collect::<Option<_>>().ok_or_else(|| wrong(text, wanted))
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split('.').map(|number| number.parse().ok()).collect()
}

/// The numbers that a release begins with: `5.10.0-8-amd64` is 5, 10, 0.
fn leading(release: &str) -> Vec<u64> {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    release[..end].split('.').map_while(|number| number.parse().ok()).collect()
}

fn size(text: &str) -> Option<u64> {
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| bytes(text))?
}

/// `*` stands for any letters, `?` for one. Host names have no case (RFC 4343).
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut star) = ((0, 0), None);
    while at.1 < name.len() {
        match pattern.get(at.0) {
            Some(b'*') => {
                star = Some(at);
                at.0 += 1;
            }
            Some(letter) if *letter == b'?' || letter.eq_ignore_ascii_case(&name[at.1]) => at = (at.0 + 1, at.1 + 1),
            _ => match &mut star {
                Some(last) => {
                    last.1 += 1;
                    at = (last.0 + 1, last.1);
                }
                None => return false,
            },
        }
    }
    pattern[at.0..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Facts {
        let platform = Platform { os: "linux".into(), architecture: "amd64".into(), variant: None };
        let mut facts = Facts {
            platform,
            kernel: "6.12.9-amd64".into(),
            memory: 16 << 30,
            host: "server".into(),
            rootless: false,
            cgroup: OnceCell::from("v2"),
        };
        facts.pretend(text).unwrap();
        facts
    }

    fn holds(name: &str, value: &str, facts: &Facts) -> bool {
        Condition::parse(name, value).unwrap().holds(facts)
    }

    #[test]
    fn each_condition_tells_hosts_apart() {
        let server = host("");
        let pi = host("arch=arm/v7,kernel=6.1.21-v7+,memory=430MB,host=pi-3,cgroup=hybrid");
        let nas = host("arch=arm64,kernel=3.10.108,memory=2GB,host=NAS-attic,cgroup=v1,rootless=true");
        for (name, value, expected) in [
            ("arch", "arm", [false, true, false]),
            ("arch", "arm/v7", [false, true, false]),
            ("arch", "arm/v6", [false, false, false]),
            ("kernel", "<4.0", [false, false, true]),
            ("kernel", "<=3.10", [false, false, true]),
            ("kernel", ">3.10", [true, true, false]),
            ("kernel", ">=3.10.108", [true, true, true]),
            ("kernel", "3", [false, false, true]),
            ("kernel", ">=4, <6.12", [false, true, false]),
            ("memory", "<512MB", [false, true, false]),
            ("memory", ">=1g,<8GiB", [false, false, true]),
            ("host", "nas-*", [false, false, true]),
            ("host", "*", [true, true, true]),
            ("host", "p?-*3", [false, true, false]),
            ("host", "p?-*4", [false, false, false]),
            ("cgroup", "hybrid", [false, true, false]),
            ("rootless", "true", [false, false, true]),
            ("rootless", "false", [true, true, false]),
        ] {
            let found = [&server, &pi, &nas].map(|facts| holds(name, value, facts));
            assert_eq!(found, expected, "{name} {value}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_what_is_one() {
        for (name, value, words) in [
            ("arch", "x86_64", "it is amd64 here"),
            ("arch", "amr", "did you mean arm?"),
            ("kernel", "<new", "\"<4.0\""),
            ("kernel", "", "\"<4.0\""),
            ("memory", "<", "\"<=512MB\""),
            ("memory", "<12XB", "\"<=512MB\""),
            ("cgroup", "v3", "v1, v2, hybrid, none"),
            ("rootless", "yes", "true or false"),
            ("kernle", "<4", "did you mean kernel?"),
        ] {
            let said = Condition::parse(name, value).unwrap_err();
            assert!(said.contains(words), "{name} {value}: {said}");
        }
        assert!(host("").pretend("colour=red").is_err() && host("").pretend("kernel=new").is_err());
    }
}
