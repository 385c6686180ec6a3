//! Capabilities of Linux as what root in a jail may do (jail(8), `allow.*`; sys/kern/kern_jail.c, `prison_priv_check`).
//!
//! A jail takes most of root's privileges away at once, and a few of the rest have a word each. What it always leaves to
//! root, and what it never does, cannot be chosen.

use oci_spec::runtime::{Capabilities, Capability, Process};

use super::network::Network;
use super::parameters::Parameters;
use super::refuse::cannot;
use crate::Result;

/// What a jail makes of a capability.
enum Kept {
    /// Root in a jail has it.
    Always,
    /// By a parameter.
    Word(&'static str),
    /// Root in a jail of its own network has it.
    WithNetwork,
    /// It says nothing on FreeBSD, or grants what everybody may do there.
    Meaningless,
    Never,
}

fn kept(capability: &Capability) -> Kept {
    use Capability as C;
    match capability {
        C::Chown | C::DacOverride | C::DacReadSearch | C::Fowner | C::Fsetid | C::Kill | C::Setgid | C::Setuid => {
            Kept::Always
        }
        C::SysChroot | C::SysNice | C::SysResource => Kept::Always,
        C::IpcLock => Kept::Word("allow.mlock"),
        C::LinuxImmutable => Kept::Word("allow.chflags"),
        C::NetBindService => Kept::Word("allow.reserved_ports"),
        C::NetRaw => Kept::Word("allow.raw_sockets"),
        C::Syslog => Kept::Word("allow.read_msgbuf"),
        C::NetAdmin | C::NetBroadcast => Kept::WithNetwork,
        // Device nodes are devfs's, which a jail's ruleset decides.
        C::Mknod | C::AuditWrite | C::Setfcap | C::Setpcap | C::IpcOwner | C::Lease | C::SysPtrace | C::WakeAlarm => {
            Kept::Meaningless
        }
        _ => Kept::Never,
    }
}

/// Those that Docker gives to every container and a jail to its root: asking for fewer is a restriction.
const USUAL: &[Capability] = &[
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::SysChroot,
];

const WORDS: &[Capability] = &[
    Capability::IpcLock,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Syslog,
];

pub(super) fn name(capability: &Capability) -> String {
    serde_json::to_value(capability).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

pub(super) fn parameters(
    process: &Process,
    network: &Network,
    parameters: &mut Parameters,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let sets = process.capabilities().as_ref();
    let Some(given) = sets.and_then(|sets| sets.bounding().as_ref().or(sets.permitted().as_ref())) else {
        return Ok(());
    };
    check(process, given, network)?;
    for capability in WORDS {
        if let Kept::Word(word) = kept(capability) {
            parameters.word(word, given.contains(capability));
        }
    }
    if network.is_own() && !given.contains(&Capability::NetAdmin) && process.user().uid() == 0 {
        warnings.push(
            "the jail backend cannot take CAP_NET_ADMIN from root in a network of its own: it may change its interfaces"
                .into(),
        );
    }
    Ok(())
}

/// Of the container's first program and of further ones.
pub(super) fn check(process: &Process, given: &Capabilities, network: &Network) -> Result<()> {
    let mut never: Vec<_> = given.iter().filter(|one| matches!(kept(one), Kept::Never)).map(name).collect();
    if !network.is_own() {
        never.extend(given.iter().filter(|one| matches!(kept(one), Kept::WithNetwork)).map(name));
    }
    never.sort();
    if !never.is_empty() {
        let option = format!("--cap-add {} (nor --privileged)", never.join(", "));
        return Err(cannot(&option, "root in a jail never has that", "leave it out, or use another backend"));
    }
    let missing: Vec<_> = USUAL.iter().filter(|one| !given.contains(one)).map(name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let option = format!("--cap-drop {}", missing.join(", "));
    if process.user().uid() == 0 {
        let remedy = "run the program as another user (--user), or keep them";
        return Err(cannot(&option, "root in a jail always has them", remedy));
    }
    if !process.no_new_privileges().unwrap_or(false) {
        let reason = "a program with the set-user-ID bit would become root, who always has them";
        return Err(cannot(&option, reason, "add --security-opt no-new-privileges"));
    }
    Ok(())
}
