//! The devices controller: v1's lists (devices.rst), v2's BPF program (cgroup-v2.rst, "Device controller").

use berth_arch::host::User;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::layout::Version;
use super::limits::{Group, Groups, Warnings, find};
use super::{bpf, files};
use crate::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    All,
    Block,
    Char,
}

pub(super) const MKNOD: u8 = 1;
pub(super) const READ: u8 = 2;
pub(super) const WRITE: u8 = 4;
pub(super) const EVERYTHING: u8 = MKNOD | READ | WRITE;

/// For each kind of access the last rule that matches decides; without one it is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) allow: bool,
    pub(super) kind: Kind,
    /// `None` is any.
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) access: u8,
}

const fn character(major: u32, minor: Option<u32>) -> Rule {
    Rule { allow: true, kind: Kind::Char, major: Some(major), minor, access: EVERYTHING }
}

/// What every container may use, in runc's and Docker's reading of "Default Devices" in the runtime
/// specification: making nodes, null, zero, full, random, urandom, tty, console, ptmx and pts.
const DEFAULTS: &[Rule] = &[
    Rule { allow: true, kind: Kind::Char, major: None, minor: None, access: MKNOD },
    Rule { allow: true, kind: Kind::Block, major: None, minor: None, access: MKNOD },
    character(1, Some(3)),
    character(1, Some(5)),
    character(1, Some(7)),
    character(1, Some(8)),
    character(1, Some(9)),
    character(5, Some(0)),
    character(5, Some(1)),
    character(5, Some(2)),
    character(136, None),
];

/// The Spec's rules in order, then the defaults.
pub(super) fn rules(spec: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>> {
    let mut rules = spec.iter().map(parse).collect::<Result<Vec<_>>>()?;
    for rule in DEFAULTS {
        if !rules.contains(rule) || rules.iter().any(|rule| !rule.allow && rule.kind != Kind::All) {
            rules.push(*rule);
        }
    }
    // Whatever comes before a rule about everything is void.
    let start = rules.iter().rposition(is_everything).unwrap_or(0);
    rules.drain(..start);
    if rules.first().is_some_and(|first| is_everything(first) && first.allow) {
        rules.retain(|rule| is_everything(rule) || !DEFAULTS.contains(rule));
    }
    Ok(rules)
}

fn is_everything(rule: &Rule) -> bool {
    rule.kind == Kind::All && rule.major.is_none() && rule.minor.is_none() && rule.access == EVERYTHING
}

fn parse(rule: &LinuxDeviceCgroup) -> Result<Rule> {
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => Kind::All,
        Some(LinuxDeviceType::B) => Kind::Block,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Kind::Char,
        Some(LinuxDeviceType::P) => {
            return Err(Error::InvalidArgument("device rule for a FIFO: use type \"a\", \"b\" or \"c\"".to_owned()));
        }
    };
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| Error::InvalidArgument(format!("device number {number} in a device rule"))),
    };
    let mut access = 0;
    let letters = rule.access().as_deref().filter(|letters| !letters.is_empty()).unwrap_or("rwm");
    for letter in letters.chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            _ => return Err(Error::InvalidArgument(format!("device access {letters:?}: use letters of \"rwm\""))),
        };
    }
    Ok(Rule { allow: rule.allow(), kind, major: number(rule.major())?, minor: number(rule.minor())?, access })
}

/// Whether the rules are in force.
pub(super) fn apply(groups: &Groups, spec: &[LinuxDeviceCgroup], warnings: &mut Warnings) -> Result<bool> {
    let rules = rules(spec)?;
    if let Some(group) = find(groups, "devices") {
        return apply_v1(group, &rules, warnings);
    }
    let open = rules.iter().all(|rule| rule.allow) && rules.first().is_some_and(is_everything);
    let reason = match groups.iter().find(|group| group.version == Version::V2) {
        _ if open => return Ok(true),
        None => "no devices controller is mounted".to_owned(),
        Some(group) => match bpf::attach(&group.dir, &bpf::program(&rules)) {
            Ok(()) => return Ok(true),
            Err(error) => format!("attaching a BPF program to {} gave {error}", group.dir.display()),
        },
    };
    // In a user namespace no nodes can be made that would be of use.
    if !spec.is_empty() && !User::detect().in_user_namespace {
        warnings.say(format!("Device rules are not enforced by cgroups: {reason}."));
    }
    Ok(false)
}

fn apply_v1(group: &Group, rules: &[Rule], warnings: &mut Warnings) -> Result<bool> {
    let first = rules.first().filter(|rule| is_everything(rule));
    let mut refused = None;
    if first.is_none_or(|rule| !rule.allow) {
        match files::write(&group.dir, "devices.deny", "a") {
            Ok(()) => {}
            // It takes CAP_SYS_ADMIN of the host itself (security/device_cgroup.c).
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                if !User::detect().in_user_namespace {
                    warnings.say(format!("Device rules are not enforced by cgroups: {error}."));
                }
                return Ok(false);
            }
            Err(error) => return Err(files::refused(&group.dir, "devices.deny", "a", error)),
        }
    } else if let Err(error) = files::write(&group.dir, "devices.allow", "a") {
        refused = Some(("a".to_owned(), error));
    }
    for rule in rules.iter().skip(usize::from(first.is_some())) {
        for line in lines(rule) {
            let file = if rule.allow { "devices.allow" } else { "devices.deny" };
            match files::write(&group.dir, file, &line) {
                Ok(()) => {}
                // A group inside another that lacks the right itself: the outcome is stricter, never weaker.
                Err(error) if rule.allow && error.raw_os_error() == Some(libc::EPERM) => {
                    if !DEFAULTS.contains(rule) {
                        refused = Some((line, error));
                    }
                }
                Err(error) => return Err(files::refused(&group.dir, file, &line, error)),
            }
        }
    }
    if let Some((line, error)) = refused {
        warnings.say(format!("The device rule {line:?} is not in force: the cgroup above lacks it ({error})."));
    }
    Ok(true)
}

/// `a` means all devices on v1 whatever numbers follow, so a narrower rule is written for both kinds.
fn lines(rule: &Rule) -> Vec<String> {
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
    let access: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
        .iter()
        .filter(|(bit, _)| rule.access & bit != 0)
        .map(|(_, c)| c)
        .collect();
    let kinds: &[char] = match rule.kind {
        Kind::All => &['b', 'c'],
        Kind::Block => &['b'],
        Kind::Char => &['c'],
    };
    kinds.iter().map(|kind| format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor))).collect()
}
