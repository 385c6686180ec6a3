//! What a jail uses and how it is limited, by rctl(8).

use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;

use super::limits::{self, Limits, Rule};
use super::sys;
use crate::error::setup;
use crate::{Limiter, MemoryWatch, Result, Sample, Stats};

/// Puts the limits in force. Without accounting they are discarded, and that is said.
pub(super) fn apply(name: &str, jail: i32, wanted: &Limits, warnings: &mut Vec<String>) -> Result<()> {
    for rule in &wanted.rules {
        let text = limits::rule(name, rule);
        match sys::add_rule(&text) {
            Ok(()) => {}
            Err(Errno::NOSYS) => {
                warnings.push(format!(
                    "this host does not account for resources, so the limit of {} is discarded: set kern.racct.enable=1 in \
                     /boot/loader.conf",
                    rule.resource
                ));
            }
            Err(error) => return Err(setup(format!("add the rule {text} (rctl)"))(error)),
        }
    }
    match &wanted.cpus {
        Some(cpus) => sys::set_processors(jail, cpus).map_err(setup("choose the jail's processors (--cpuset-cpus)")),
        None => Ok(()),
    }
}

/// Removes all rules of the jail. Idempotent.
pub(super) fn clear(name: &str) {
    let _ = sys::remove_rules(&limits::subject(name));
}

/// Of one jail.
#[derive(Debug)]
pub(super) struct Accounts {
    pub(super) name: String,
    pub(super) jail: i32,
    pub(super) rules: Vec<Rule>,
}

impl Stats for Accounts {
    fn sample(&self) -> Result<Sample> {
        let text = sys::used(&limits::subject(&self.name)).map_err(setup(format!("measure jail {}", self.name)))?;
        Ok(limits::sample(&text, &self.rules))
    }

    /// Memory over the limit is denied, and nothing is killed for it.
    fn out_of_memory(&self) -> Result<bool> {
        Ok(false)
    }

    fn memory_watch(&self) -> Option<MemoryWatch> {
        None
    }
}

impl Limiter for Accounts {
    fn update(&self, resources: &LinuxResources) -> Result<()> {
        let mut warnings = Vec::new();
        let wanted = Limits::new(resources, &mut warnings)?;
        for rule in &wanted.rules {
            let _ = sys::remove_rules(&format!("jail:{}:{}:{}", self.name, rule.resource, rule.action));
        }
        apply(&self.name, self.jail, &wanted, &mut warnings)?;
        match warnings.into_iter().next() {
            Some(warning) => Err(crate::Error::Unavailable(warning)),
            None => Ok(()),
        }
    }
}
