//! A jail, computed from a bundle: its parameters, mounts, limits and program.

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::limits::Limits;
use super::mounts::{Mounts, RULESET};
use super::network::{self, Network};
use super::parameters::{Parameters, Value, jail_name};
use super::program::Program;
use super::{privileges, refuse};
use crate::{Bundle, ContainerId, Error, Result};

#[derive(Debug)]
pub(super) struct Plan {
    /// Of the jail.
    pub(super) name: String,
    pub(super) parameters: Parameters,
    pub(super) network: Network,
    pub(super) mounts: Mounts,
    pub(super) limits: Limits,
    pub(super) program: Program,
}

impl Plan {
    pub(super) fn new(id: &ContainerId, bundle: &Bundle, warnings: &mut Vec<String>) -> Result<Self> {
        let spec = &bundle.spec;
        refuse::check(spec, bundle.standalone.is_some())?;
        let process = spec.process().as_ref();
        let process = process.ok_or_else(|| Error::InvalidArgument("specification: it has no process".into()))?;
        let network = Network::of(spec)?;
        let name = jail_name(id.as_str());
        let root = bundle.mount_point.to_str();
        let root = root.ok_or_else(|| Error::InvalidArgument("mount point: it is not UTF-8".into()))?;
        let mut parameters = Parameters::default();
        parameters.text("name", &name);
        parameters.text("path", root);
        // It is there before its first process is, and ends when the container is deleted.
        parameters.word("persist", true);
        names(spec, &mut parameters)?;
        network.parameters(&mut parameters);
        let own = refuse::asks_for(spec, LinuxNamespaceType::Ipc).unwrap_or(true);
        for kind in ["sysvmsg", "sysvsem", "sysvshm"] {
            parameters.share(kind, own);
        }
        numbers(spec, &mut parameters)?;
        parameters.word("allow.set_hostname", false);
        privileges::parameters(process, &network, &mut parameters, warnings)?;
        for word in network::list(spec, "allow") {
            parameters.word(&allowed(&word)?, true);
        }
        let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        Ok(Self {
            name,
            parameters,
            network,
            mounts: Mounts::new(bundle)?,
            limits: resources.map(|resources| Limits::new(resources, warnings)).transpose()?.unwrap_or_default(),
            program: Program::new(process)?,
        })
    }
}

/// The host's name and domain are the jail's own if a UTS namespace is asked for, or a name.
fn names(spec: &Spec, parameters: &mut Parameters) -> Result<()> {
    let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let (host, domain) = (named(spec.hostname()), named(spec.domainname()));
    let own = refuse::asks_for(spec, LinuxNamespaceType::Uts).unwrap_or(host.is_some() || domain.is_some());
    if !own && (host.is_some() || domain.is_some()) {
        return Err(Error::InvalidArgument("host name: without a uts namespace it would be set on the host".into()));
    }
    parameters.share("host", own);
    if let Some(name) = host {
        parameters.text("host.hostname", name);
    }
    if let Some(name) = domain {
        parameters.text("host.domainname", name);
    }
    Ok(())
}

/// What has a default of ours, and what only annotations ask for.
fn numbers(spec: &Spec, parameters: &mut Parameters) -> Result<()> {
    let number = |name: &str, range: std::ops::RangeInclusive<i32>| -> Result<Option<i32>> {
        let Some(text) = network::annotation(spec, name) else { return Ok(None) };
        let wanted = || format!("a number from {} to {}", range.start(), range.end());
        let parsed = text.parse().ok().filter(|number| range.contains(number));
        parsed.map(Some).ok_or_else(|| network::invalid(name, text, &wanted()))
    };
    // Of the host's mounts nothing but the root is seen.
    let statfs = number("enforce_statfs", 1..=2)?.unwrap_or(2);
    parameters.set("enforce_statfs", Value::Number(statfs));
    let ruleset = number("devfs_ruleset", 1..=65535)?.unwrap_or(RULESET as i32);
    parameters.set("devfs_ruleset", Value::Number(ruleset));
    parameters.set("children.max", Value::Number(number("children.max", 0..=999_999)?.unwrap_or(0)));
    if let Some(level) = number("securelevel", -1..=3)? {
        parameters.set("securelevel", Value::Number(level));
    }
    Ok(())
}

/// `mount.nullfs`, `quotas`, ...: what jail(8) has below `allow`.
fn allowed(word: &str) -> Result<String> {
    let fits = |c: u8| c.is_ascii_lowercase() || matches!(c, b'_' | b'.');
    if word.bytes().all(fits) && !word.starts_with('.') && !word.ends_with('.') {
        return Ok(format!("allow.{word}"));
    }
    Err(network::invalid("allow", word, "names as jail(8) has below allow, separated by commas"))
}
