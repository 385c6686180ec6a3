//! The memory controller: memory.rst of the kernel's cgroup-v1 documents, "Memory" of cgroup-v2.rst.

use std::io;
use std::path::Path;

use oci_spec::runtime::LinuxMemory;

use super::files::{self, flat_keyed, number, refused, set};
use super::layout::Version;
use super::limits::{Groups, Warnings, find};
use crate::{Error, Result, Sample};

/// v1 reports "no limit" as the largest multiple of the page size.
const UNLIMITED: u64 = 1 << 62;

pub(super) fn apply(groups: &Groups, limits: &LinuxMemory, warnings: &mut Warnings) -> Result<()> {
    // Zero is "not given" in Docker's and in runc's reading of the Spec.
    let limit = limits.limit().filter(|&limit| limit != 0);
    let swap = limits.swap().filter(|&swap| swap != 0);
    let reservation = limits.reservation().filter(|&reservation| reservation != 0);
    let Some(group) = find(groups, "memory") else {
        if limit.is_some_and(|limit| limit > 0) {
            warnings.absent("memory limit capabilities", "Limitation discarded");
        }
        if swap.is_some_and(|swap| swap > 0) {
            swap_absent(warnings);
        }
        if reservation.is_some_and(|reservation| reservation > 0) {
            warnings.absent("memory soft limit capabilities", "Limitation discarded");
        }
        if limits.swappiness().is_some() {
            swappiness_absent(warnings);
        }
        if limits.disable_oom_killer() == Some(true) {
            oom_kill_disable_absent(warnings);
        }
        return Ok(());
    };
    match group.version {
        Version::V1 => apply_v1(&group.dir, limits, limit, swap, reservation, warnings),
        Version::V2 => apply_v2(&group.dir, limits, limit, swap, reservation, warnings),
    }
}

fn swap_absent(warnings: &mut Warnings) {
    warnings.absent("swap limit capabilities", "Memory limited without swap");
}

fn swappiness_absent(warnings: &mut Warnings) {
    warnings.absent("memory swappiness capabilities", "Memory swappiness discarded");
}

fn oom_kill_disable_absent(warnings: &mut Warnings) {
    warnings.say("Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned());
}

const V1_LIMIT: &str = "memory.limit_in_bytes";
const V1_SWAP: &str = "memory.memsw.limit_in_bytes";

fn apply_v1(
    dir: &Path,
    limits: &LinuxMemory,
    limit: Option<i64>,
    swap: Option<i64>,
    reservation: Option<i64>,
    warnings: &mut Warnings,
) -> Result<()> {
    // "No limit on memory" with a limit on memory and swap left would be refused by the kernel.
    let swap = swap.or_else(|| limit.filter(|&limit| limit < 0).filter(|_| files::exists(dir, V1_SWAP)));
    match (limit, swap) {
        (Some(limit), Some(swap)) => {
            if !files::exists(dir, V1_SWAP) {
                if swap > 0 {
                    swap_absent(warnings);
                }
                set_limit(dir, V1_LIMIT, limit, warnings)?;
            } else if rises(dir, swap) {
                // memory <= memory + swap must hold after each step, so the order depends on the direction.
                set_limit(dir, V1_SWAP, swap, warnings)?;
                set_limit(dir, V1_LIMIT, limit, warnings)?;
            } else {
                set_limit(dir, V1_LIMIT, limit, warnings)?;
                set_limit(dir, V1_SWAP, swap, warnings)?;
            }
        }
        (Some(limit), None) => set_limit(dir, V1_LIMIT, limit, warnings)?,
        (None, Some(swap)) => {
            if !set(dir, V1_SWAP, &swap.to_string())? && swap > 0 {
                swap_absent(warnings);
            }
        }
        (None, None) => {}
    }
    if let Some(reservation) = reservation
        && !set(dir, "memory.soft_limit_in_bytes", &reservation.to_string())?
    {
        warnings.absent("memory soft limit capabilities", "Limitation discarded");
    }
    if let Some(swappiness) = limits.swappiness() {
        if swappiness > 100 {
            return Err(Error::InvalidArgument(format!("memory swappiness {swappiness}: use 0 to 100")));
        }
        if !set(dir, "memory.swappiness", &swappiness.to_string())? {
            swappiness_absent(warnings);
        }
    }
    if let Some(disable) = limits.disable_oom_killer()
        && (disable || files::read(dir, "memory.oom_control").is_ok_and(|text| text.contains("oom_kill_disable 1")))
        && !set(dir, "memory.oom_control", if disable { "1" } else { "0" })?
    {
        oom_kill_disable_absent(warnings);
    }
    Ok(())
}

fn rises(dir: &Path, swap: i64) -> bool {
    match u64::try_from(swap) {
        Err(_) => true,
        Ok(swap) => number(dir, V1_SWAP).is_some_and(|current| current < swap),
    }
}

/// A limit below what is in use is refused with EBUSY where the kernel cannot reclaim enough.
fn set_limit(dir: &Path, file: &str, value: i64, warnings: &mut Warnings) -> Result<()> {
    let text = if value < 0 { "-1".to_owned() } else { value.to_string() };
    match files::write(dir, file, &text) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            warnings.absent("memory limit capabilities", "Limitation discarded");
            Ok(())
        }
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            let usage = number(dir, "memory.usage_in_bytes").unwrap_or_default();
            Err(Error::InvalidArgument(format!("memory limit of {value} bytes: {usage} bytes are in use")))
        }
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) && file == V1_LIMIT => Err(Error::InvalidArgument(
            format!("memory limit of {value} bytes: it exceeds the limit on memory and swap; raise that one too"),
        )),
        Err(error) => Err(refused(dir, file, &text, error)),
    }
}

fn apply_v2(
    dir: &Path,
    limits: &LinuxMemory,
    limit: Option<i64>,
    swap: Option<i64>,
    reservation: Option<i64>,
    warnings: &mut Warnings,
) -> Result<()> {
    let memory = limit.or_else(|| number(dir, "memory.max").and_then(|limit| i64::try_from(limit).ok()));
    if let Some(value) = swap_v2(memory, swap, limit)?
        && !set(dir, "memory.swap.max", &value)?
        && value != "max"
    {
        // A host without swap accounting cannot swap the container either if its kernel has no swap at all.
        swap_absent(warnings);
    }
    if let Some(limit) = limit
        && !set(dir, "memory.max", &v2(limit))?
    {
        warnings.absent("memory limit capabilities", "Limitation discarded");
    }
    if let Some(reservation) = reservation
        && !set(dir, "memory.low", &v2(reservation))?
    {
        warnings.absent("memory soft limit capabilities", "Limitation discarded");
    }
    if limits.swappiness().is_some() {
        swappiness_absent(warnings);
    }
    if limits.disable_oom_killer() == Some(true) {
        oom_kill_disable_absent(warnings);
    }
    Ok(())
}

fn v2(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// OCI's `swap` is memory and swap together, v2's `memory.swap.max` is swap alone (crun.1.md, "cgroup v2").
fn swap_v2(memory: Option<i64>, swap: Option<i64>, new_limit: Option<i64>) -> Result<Option<String>> {
    match (memory, swap) {
        (_, None) if new_limit.is_some_and(|limit| limit < 0) => Ok(Some("max".to_owned())),
        (_, None) => Ok(None),
        (_, Some(swap)) if swap < 0 => Ok(Some("max".to_owned())),
        (Some(memory), Some(swap)) if memory >= 0 => match swap.checked_sub(memory) {
            Some(rest) if rest >= 0 => Ok(Some(rest.to_string())),
            _ => Err(Error::InvalidArgument(format!(
                "memory and swap limit of {swap} bytes: it is below the memory limit"
            ))),
        },
        (_, Some(swap)) => {
            Err(Error::InvalidArgument(format!("memory and swap limit of {swap} bytes: it needs a memory limit too")))
        }
    }
}

pub(super) fn sample(groups: &Groups, sample: &mut Sample) {
    let Some(group) = find(groups, "memory") else { return };
    let dir = &group.dir;
    sample.memory_stat = flat_keyed(dir, "memory.stat");
    match group.version {
        Version::V1 => {
            sample.memory_usage = number(dir, "memory.usage_in_bytes").unwrap_or_default();
            sample.memory_max_usage = number(dir, "memory.max_usage_in_bytes");
            sample.memory_limit = number(dir, V1_LIMIT).filter(|&limit| limit < UNLIMITED);
            sample.memory_failcnt = number(dir, "memory.failcnt").unwrap_or_default();
        }
        Version::V2 => {
            sample.memory_usage = number(dir, "memory.current").unwrap_or_default();
            sample.memory_max_usage = number(dir, "memory.peak");
            sample.memory_limit = number(dir, "memory.max");
            sample.memory_failcnt = flat_keyed(dir, "memory.events").get("max").copied().unwrap_or_default();
        }
    }
}

/// Whether the kernel killed a process inside for want of memory. v1 counts it since 4.13; before that, no.
pub(super) fn out_of_memory(groups: &Groups) -> bool {
    let Some(group) = find(groups, "memory") else { return false };
    let file = match group.version {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    };
    flat_keyed(&group.dir, file).get("oom_kill").is_some_and(|&count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_swap_is_what_remains_above_memory() {
        assert_eq!(swap_v2(Some(100), Some(300), Some(100)).unwrap().as_deref(), Some("200"));
        assert_eq!(swap_v2(Some(100), Some(100), Some(100)).unwrap().as_deref(), Some("0"));
        assert_eq!(swap_v2(Some(100), Some(-1), None).unwrap().as_deref(), Some("max"));
        assert_eq!(swap_v2(Some(-1), None, Some(-1)).unwrap().as_deref(), Some("max"));
        assert_eq!(swap_v2(Some(100), None, Some(100)).unwrap(), None);
        assert!(swap_v2(Some(100), Some(50), None).is_err());
        assert!(swap_v2(None, Some(50), None).is_err());
    }
}
