//! What all controllers share: a container's group in one hierarchy, and the application of all limits.

use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;

use super::layout::Version;
use super::{cpu, cpuset, hugetlb, io, memory, network, pids, unified};
use crate::Result;

/// The container's directory in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) version: Version,
    pub(super) dir: PathBuf,
    /// The controllers that work in it.
    pub(super) controllers: Vec<String>,
}

/// The groups of one container.
pub(super) type Groups = [Group];

/// The group in which `controller` limits and measures.
pub(super) fn find<'a>(groups: &'a Groups, controller: &str) -> Option<&'a Group> {
    groups.iter().find(|group| group.controllers.iter().any(|name| name == controller))
}

/// Sentences for the user about limits that are not in force, in Docker's words (moby
/// daemon/daemon_unix.go, `verifyPlatformContainerResources`), each once.
#[derive(Debug, Default)]
pub(super) struct Warnings(pub(super) Vec<String>);

impl Warnings {
    /// The kernel lacks `what`, or its controller is not mounted.
    pub(super) fn absent(&mut self, what: &str, consequence: &str) {
        self.say(format!("Your kernel does not support {what} or the cgroup is not mounted. {consequence}."));
    }

    pub(super) fn say(&mut self, sentence: String) {
        if !self.0.contains(&sentence) {
            self.0.push(sentence);
        }
    }
}

/// The controllers without which `resources` cannot be in force.
pub(super) fn wanted(resources: &LinuxResources) -> Vec<&'static str> {
    let mut names = Vec::new();
    if resources.cpu().as_ref().is_some_and(|cpu| given(cpu.cpus()) || given(cpu.mems())) {
        names.push("cpuset");
    }
    if resources.hugepage_limits().as_ref().is_some_and(|limits| !limits.is_empty()) {
        names.push("hugetlb");
    }
    if let Some(network) = resources.network() {
        if network.class_id().is_some() {
            names.push("net_cls");
        }
        if network.priorities().as_ref().is_some_and(|list| !list.is_empty()) {
            names.push("net_prio");
        }
    }
    if resources.rdma().as_ref().is_some_and(|list| !list.is_empty()) {
        names.push("rdma");
    }
    names
}

fn given(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|text| !text.is_empty())
}

/// Applies everything but the rules about devices, which `update` never changes by itself.
pub(super) fn apply(groups: &Groups, resources: &LinuxResources, warnings: &mut Warnings) -> Result<()> {
    if let Some(limits) = resources.memory() {
        memory::apply(groups, limits, warnings)?;
    }
    if let Some(limits) = resources.cpu() {
        cpu::apply(groups, limits, warnings)?;
        cpuset::apply(groups, limits, warnings)?;
    }
    if let Some(limits) = resources.pids() {
        pids::apply(groups, limits.limit(), warnings)?;
    }
    if let Some(limits) = resources.block_io() {
        io::apply(groups, limits, warnings)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        hugetlb::apply(groups, limit, warnings)?;
    }
    if let Some(limits) = resources.network() {
        network::apply(groups, limits, warnings)?;
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        network::apply_rdma(groups, device, limit, warnings)?;
    }
    if let Some(keys) = resources.unified() {
        unified::apply(groups, keys)?;
    }
    Ok(())
}
