//! The program: arguments, environment, identity and rights.

use std::collections::HashSet;

use berth_backends::Isolation;
use oci_spec::runtime::{
    BoxBuilder, Capability, LinuxCapabilitiesBuilder, LinuxSeccomp, PosixRlimit, PosixRlimitBuilder, Process,
    ProcessBuilder, UserBuilder,
};

use super::init;
use crate::settings::security::{Seccomp, Security};
use crate::settings::{capabilities, mounts, resources};
use crate::user::Identity;
use crate::{Container, Engine, Error, Result};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn incomplete(error: oci_spec::OciSpecError) -> Error {
    Error::Internal(format!("make the OCI spec: {error}"))
}

impl Engine {
    pub(super) fn spec_process(
        &self,
        container: &Container,
        linked: &[String],
        security: &Security,
        isolation: &Isolation,
    ) -> Result<Process> {
        let (config, host) = (&container.config, &container.host_config);
        let groups = host.group_add.as_deref().unwrap_or_default();
        let identity = self.user_identity(container, config.user.as_deref().unwrap_or_default(), groups)?;
        let set = capabilities::compute(
            host.cap_add.as_deref().unwrap_or_default(),
            host.cap_drop.as_deref().unwrap_or_default(),
            host.privileged == Some(true),
            isolation,
        )?;
        let mut args = container.command();
        if host.init == Some(true) {
            args.splice(0..0, [init::INSIDE, "--"].map(str::to_owned));
        }
        let mut process = ProcessBuilder::default()
            .terminal(container.tty())
            .user(user(&identity)?)
            .args(args)
            .env(environment(container, linked, container.tty(), &identity.home))
            .cwd(working_directory(config.working_dir.as_deref()))
            .capabilities(sets(set)?)
            .rlimits(limits(container)?)
            .no_new_privileges(security.no_new_privileges);
        if let Some(score) = host.oom_score_adj.filter(|&score| score != 0) {
            process = process.oom_score_adj(i32::try_from(score).unwrap_or(1000));
        }
        if let Some(profile) = &security.apparmor {
            process = process.apparmor_profile(profile);
        }
        if let Some((columns, rows)) = console_size(host.console_size.as_deref()).filter(|_| container.tty()) {
            let size = BoxBuilder::default().width(columns).height(rows).build().map_err(incomplete)?;
            process = process.console_size(size);
        }
        process.build().map_err(incomplete)
    }
}

/// Docker's order is rows, columns. Ours: columns, rows.
pub(crate) fn console_size(size: Option<&[usize]>) -> Option<(u16, u16)> {
    match size {
        Some(&[rows, columns]) if rows > 0 && columns > 0 => {
            Some((u16::try_from(columns).ok()?, u16::try_from(rows).ok()?))
        }
        _ => None,
    }
}

pub(crate) fn user(identity: &Identity) -> Result<oci_spec::runtime::User> {
    UserBuilder::default()
        .uid(identity.uid)
        .gid(identity.gid)
        .additional_gids(identity.groups.clone())
        .build()
        .map_err(incomplete)
}

pub(crate) fn working_directory(text: Option<&str>) -> std::path::PathBuf {
    text.and_then(mounts::clean).unwrap_or_else(|| "/".into())
}

pub(crate) fn sets(set: HashSet<Capability>) -> Result<oci_spec::runtime::LinuxCapabilities> {
    LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()
        .map_err(incomplete)
}

fn limits(container: &Container) -> Result<Vec<PosixRlimit>> {
    let list = container.host_config.ulimits.iter().flatten().map(|limit| {
        let (kind, soft, hard) = resources::ulimit(limit)?;
        PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build().map_err(incomplete)
    });
    list.collect()
}

/// The defaults, the container's variables, then `more`; a later one replaces an earlier one, and one without a value
/// removes it.
pub(crate) fn environment(container: &Container, more: &[String], tty: bool, home: &str) -> Vec<String> {
    let mut list = vec![PATH.to_owned()];
    list.push(format!("HOSTNAME={}", container.config.hostname.as_deref().unwrap_or_default()));
    if tty {
        list.push("TERM=xterm".to_owned());
    }
    for variable in container.config.env.iter().flatten().chain(more) {
        let key = variable.split_once('=').map_or(variable.as_str(), |(key, _)| key);
        let same = |known: &String| known.split_once('=').is_some_and(|(name, _)| name == key);
        let place = list.iter().position(same);
        match (place, variable.contains('=')) {
            (Some(place), true) => list[place].clone_from(variable),
            (Some(place), false) => drop(list.remove(place)),
            (None, true) => list.push(variable.clone()),
            (None, false) => {}
        }
    }
    if !list.iter().any(|variable| variable.starts_with("HOME=")) {
        list.push(format!("HOME={home}"));
    }
    list
}

/// `None`: no filter.
pub(super) fn seccomp(
    security: &Security,
    privileged: bool,
    capabilities: &HashSet<Capability>,
) -> Result<Option<LinuxSeccomp>> {
    match &security.seccomp {
        Seccomp::Unconfined => Ok(None),
        Seccomp::Profile(json) => Ok(Some(berth_backends::seccomp::parse_profile(json, capabilities)?)),
        Seccomp::Default if privileged => Ok(None),
        // Without CONFIG_SECCOMP_FILTER Docker runs without one as well; `doctor` says so.
        Seccomp::Default if !berth_arch::kernel::seccomp::filters().is_available() => Ok(None),
        Seccomp::Default => Ok(Some(berth_backends::seccomp::docker_default(capabilities))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::record::tests::container;

    #[test]
    fn variables_replace_and_remove_earlier_ones() {
        let mut container = container();
        container.config.hostname = Some("h".to_owned());
        container.config.env = Some(["A=1", "PATH=/bin", "B=2", "TERM"].map(str::to_owned).into());
        let list = environment(&container, &["B".to_owned(), "A=3".to_owned()], true, "/root");
        assert_eq!(list, ["PATH=/bin", "HOSTNAME=h", "A=3", "HOME=/root"]);
        container.config.env = Some(vec!["HOME=/x".to_owned()]);
        assert!(environment(&container, &[], false, "/root").contains(&"HOME=/x".to_owned()));
    }

    #[test]
    fn a_size_of_zero_is_none() {
        assert_eq!(console_size(Some(&[24, 80])), Some((80, 24)));
        assert_eq!(console_size(Some(&[0, 0])), None);
        assert_eq!(console_size(None), None);
    }
}
