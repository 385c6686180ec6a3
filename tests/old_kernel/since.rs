//! What came when: the tables in `since`, and the reading of them.

/// Of a kernel, to the second number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl Version {
    fn parse(text: &str) -> Self {
        let (major, minor) = text.split_once('.').unwrap_or_else(|| panic!("{text:?} is no version"));
        let number = |text: &str| text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"));
        Self(number(major), number(minor))
    }
}

fn lines(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split(' ').collect())
}

/// Since when the ABI has the call, for each that is newer than 3.2 somewhere.
pub(crate) fn calls(abi: &str) -> Vec<(&'static str, Version)> {
    lines(include_str!("since/calls.txt"))
        .map(|words| {
            let own = words[2..].iter().find_map(|word| word.split_once('=').filter(|(name, _)| *name == abi));
            (words[0], Version::parse(own.map_or(words[1], |(_, version)| version)))
        })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    Is(u32),
    HasOneOf(u32),
}

/// An argument that a kernel knew later than its call.
pub(crate) struct Argument {
    pub(crate) call: &'static str,
    pub(crate) conditions: Vec<(u32, Test)>,
    pub(crate) since: Version,
    pub(crate) answer: i32,
}

pub(crate) fn arguments() -> Vec<Argument> {
    let parse = |words: Vec<&'static str>| Argument {
        call: words[0],
        conditions: words[1].split(',').map(condition).collect(),
        since: Version::parse(words[2]),
        answer: errno(words[3]),
    };
    lines(include_str!("since/arguments.txt")).map(parse).collect()
}

fn condition(text: &str) -> (u32, Test) {
    let at = text.find(['=', '&']).unwrap_or_else(|| panic!("{text:?} is no condition"));
    let value = &text[at + 1..];
    let value = match value.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => value.parse(),
    };
    let value = value.unwrap_or_else(|error| panic!("{text:?}: {error}"));
    let test = if text[at..].starts_with('=') { Test::Is(value) } else { Test::HasOneOf(value) };
    (text[..at].parse().unwrap_or_else(|error| panic!("{text:?}: {error}")), test)
}

fn errno(name: &str) -> i32 {
    match name {
        "EINVAL" => libc::EINVAL,
        "EISDIR" => libc::EISDIR,
        "ENOTTY" => libc::ENOTTY,
        "EOPNOTSUPP" => libc::EOPNOTSUPP,
        "ENOPROTOOPT" => libc::ENOPROTOOPT,
        "EAFNOSUPPORT" => libc::EAFNOSUPPORT,
        _ => panic!("{name}: unknown answer"),
    }
}

/// Names with the version that brought them: file systems (`overlay`, `overlay:index`, `overlay:*`).
pub(crate) fn filesystems() -> Vec<(&'static str, Version)> {
    pairs(include_str!("since/filesystems.txt"))
}

/// Patterns of paths.
pub(crate) fn files() -> Vec<(&'static str, Version)> {
    pairs(include_str!("since/files.txt"))
}

fn pairs(text: &'static str) -> Vec<(&'static str, Version)> {
    lines(text).map(|words| (words[0], Version::parse(words[1]))).collect()
}

/// Pattern of a path, version, and the text that older kernels do not have in a line of it.
pub(crate) fn file_lines() -> Vec<(&'static str, Version, String)> {
    lines(include_str!("since/lines.txt"))
        .map(|words| (words[0], Version::parse(words[1]), words[2].replace('_', " ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_can_be_read() {
        assert!(calls("x86_64").len() > 60 && arguments().len() > 60 && files().len() > 20 && file_lines().len() > 10);
        assert!(filesystems().contains(&("overlay", Version(3, 18))));
    }

    /// Against slips of the pen: names that no architecture has, and calls of 5.1 and later out of their numbers' order.
    #[test]
    fn versions_rise_with_the_numbers() {
        let abi = berth_arch::cpu::table(0xc000_003e).unwrap();
        let mut all: Vec<(u32, Version)> = Vec::new();
        for (name, since) in calls("x86_64") {
            let known = berth_arch::cpu::ABIS.iter().any(|abi| abi.number(name).is_some());
            assert!(known, "{name}: no such call");
            all.extend(abi.number(name).filter(|number| *number >= 424).map(|number| (number, since)));
        }
        all.sort_unstable_by_key(|(number, _)| *number);
        // close_range and quotactl_fd had their numbers before they were merged.
        let early = [436, 443];
        let ordered = all.iter().filter(|(number, _)| !early.contains(number)).map(|(_, since)| since);
        assert!(ordered.is_sorted(), "{all:?}");
    }

    #[test]
    fn an_architecture_may_have_a_call_later() {
        let since = |abi: &str| calls(abi).into_iter().find(|(name, _)| *name == "seccomp").unwrap().1;
        assert_eq!(since("x86_64"), Version(3, 17));
        assert_eq!(since("aarch64"), Version(3, 19));
    }
}
