//! The controllers net_cls and net_prio (v1 only) and rdma.

use oci_spec::runtime::{LinuxNetwork, LinuxRdma};

use super::files::set;
use super::limits::{Groups, Warnings, find};
use crate::{Error, Result};

pub(super) fn apply(groups: &Groups, limits: &LinuxNetwork, warnings: &mut Warnings) -> Result<()> {
    if let Some(class) = limits.class_id() {
        let done = match find(groups, "net_cls") {
            Some(group) => set(&group.dir, "net_cls.classid", &class.to_string())?,
            None => false,
        };
        if !done {
            warnings.absent("network classes", "Network class discarded");
        }
    }
    for priority in limits.priorities().iter().flatten() {
        let done = match find(groups, "net_prio") {
            Some(group) => {
                set(&group.dir, "net_prio.ifpriomap", &format!("{} {}", priority.name(), priority.priority()))?
            }
            None => false,
        };
        if !done {
            warnings.absent("network priorities", "Network priorities discarded");
        }
    }
    Ok(())
}

pub(super) fn apply_rdma(groups: &Groups, device: &str, limit: &LinuxRdma, warnings: &mut Warnings) -> Result<()> {
    if device.is_empty() || device.contains(char::is_whitespace) {
        return Err(Error::InvalidArgument(format!("RDMA device {device:?}")));
    }
    let value = |count: Option<u32>| count.map_or("max".to_owned(), |count| count.to_string());
    let line = format!("{device} hca_handle={} hca_object={}", value(limit.hca_handles()), value(limit.hca_objects()));
    let done = match find(groups, "rdma") {
        Some(group) => set(&group.dir, "rdma.max", &line)?,
        None => false,
    };
    if !done {
        warnings.absent("RDMA limits", "Limitation discarded");
    }
    Ok(())
}
