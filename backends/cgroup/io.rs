//! The blkio (v1) and io (v2) controller: weights, and limits a device.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::files::{self, set};
use super::layout::Version;
use super::limits::{Group, Groups, Warnings, find};
use crate::{Error, Result, Sample};

/// One kind of limit: its file on v1, its key in v2's `io.max`, and Docker's words for it.
struct Throttle<'a> {
    devices: &'a Option<Vec<LinuxThrottleDevice>>,
    v1: &'static str,
    v2: &'static str,
    name: &'static str,
    discarded: &'static str,
}

pub(super) fn apply(groups: &Groups, limits: &LinuxBlockIo, warnings: &mut Warnings) -> Result<()> {
    let group = find(groups, "blkio").or_else(|| find(groups, "io"));
    weights(group, limits, warnings)?;
    let throttles = [
        Throttle {
            devices: limits.throttle_read_bps_device(),
            v1: "blkio.throttle.read_bps_device",
            v2: "rbps",
            name: "BPS Block I/O read limit",
            discarded: "Block I/O BPS read limit discarded",
        },
        Throttle {
            devices: limits.throttle_write_bps_device(),
            v1: "blkio.throttle.write_bps_device",
            v2: "wbps",
            name: "BPS Block I/O write limit",
            discarded: "Block I/O BPS write limit discarded",
        },
        Throttle {
            devices: limits.throttle_read_iops_device(),
            v1: "blkio.throttle.read_iops_device",
            v2: "riops",
            name: "IOPS Block read limit",
            discarded: "Block I/O IOPS read limit discarded",
        },
        Throttle {
            devices: limits.throttle_write_iops_device(),
            v1: "blkio.throttle.write_iops_device",
            v2: "wiops",
            name: "IOPS Block write limit",
            discarded: "Block I/O IOPS write limit discarded",
        },
    ];
    for throttle in throttles {
        for device in throttle.devices.iter().flatten() {
            let (number, rate) = (format!("{}:{}", device.major(), device.minor()), device.rate());
            let done = match group {
                None => false,
                Some(Group { version: Version::V1, dir, .. }) => set(dir, throttle.v1, &format!("{number} {rate}"))?,
                Some(Group { version: Version::V2, dir, .. }) => {
                    // Zero lifts the limit on v1, and is refused on v2.
                    let rate = if rate == 0 { "max".to_owned() } else { rate.to_string() };
                    set(dir, "io.max", &format!("{number} {}={rate}", throttle.v2))?
                }
            };
            if !done {
                warnings.absent(throttle.name, throttle.discarded);
            }
        }
    }
    Ok(())
}

fn weights(group: Option<&Group>, limits: &LinuxBlockIo, warnings: &mut Warnings) -> Result<()> {
    for weight in [limits.weight(), limits.leaf_weight()].into_iter().flatten().filter(|&weight| weight != 0) {
        if !(10..=1000).contains(&weight) {
            return Err(Error::InvalidArgument(format!("block I/O weight {weight}: use 10 to 1000")));
        }
    }
    if let Some(weight) = limits.weight().filter(|&weight| weight != 0)
        && !set_weight(group, None, weight)?
    {
        warnings.absent("Block I/O weight", "Weight discarded");
    }
    if let Some(weight) = limits.leaf_weight().filter(|&weight| weight != 0) {
        let done = match group {
            Some(group) if group.version == Version::V1 => set(&group.dir, "blkio.leaf_weight", &weight.to_string())?,
            _ => false,
        };
        if !done {
            warnings.absent("Block I/O leaf weight", "Weight discarded");
        }
    }
    for device in limits.weight_device().iter().flatten() {
        let number = format!("{}:{}", device.major(), device.minor());
        let done = match device.weight().filter(|&weight| weight != 0) {
            Some(weight) => set_weight(group, Some(&number), weight)?,
            None => true,
        };
        let leaf = match (device.leaf_weight().filter(|&weight| weight != 0), group) {
            (None, _) => true,
            (Some(weight), Some(group)) if group.version == Version::V1 => {
                set(&group.dir, "blkio.leaf_weight_device", &format!("{number} {weight}"))?
            }
            _ => false,
        };
        if !done || !leaf {
            warnings.absent("Block I/O weight_device", "Weight-device discarded");
        }
    }
    Ok(())
}

/// CFQ's files (before 5.0), else BFQ's, else iocost's (`io.weight`), whichever scheduler is there.
fn set_weight(group: Option<&Group>, device: Option<&str>, weight: u16) -> Result<bool> {
    let Some(group) = group else { return Ok(false) };
    let line = |value: u64| device.map_or(value.to_string(), |device| format!("{device} {value}"));
    let bfq = |prefix: &str| match device {
        None => set(&group.dir, &format!("{prefix}.bfq.weight"), &weight.to_string()),
        Some(_) if group.version == Version::V1 => {
            set(&group.dir, &format!("{prefix}.bfq.weight_device"), &line(weight.into()))
        }
        Some(_) => set(&group.dir, &format!("{prefix}.bfq.weight"), &line(weight.into())),
    };
    match group.version {
        Version::V1 => {
            let file = if device.is_some() { "blkio.weight_device" } else { "blkio.weight" };
            Ok(set(&group.dir, file, &line(weight.into()))? || bfq("blkio")?)
        }
        Version::V2 => {
            let value = io_weight(weight);
            let text = if device.is_some() { line(value) } else { format!("default {value}") };
            // Both schedulers may be there; each device uses one.
            let (bfq, io) = (bfq("io")?, set(&group.dir, "io.weight", &text)?);
            Ok(bfq || io)
        }
    }
}

/// v1's 10 to 1000 as v2's 1 to 10000 (crun.1.md: `1 + (weight - 10) * 9999 / 990`).
fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.clamp(10, 1000) - 10) * 9999 / 990
}

pub(super) fn sample(groups: &Groups, sample: &mut Sample) {
    if let Some(group) = find(groups, "blkio") {
        let first = |files: &[&str]| {
            files
                .iter()
                .map(|file| v1_entries(&files::read(&group.dir, file).unwrap_or_default()))
                .find(|e| !e.is_empty())
        };
        let throttle = ["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"];
        sample.io_bytes = first(&[
            "blkio.bfq.io_service_bytes_recursive",
            "blkio.io_service_bytes_recursive",
            throttle[0],
            "blkio.throttle.io_service_bytes",
        ])
        .unwrap_or_default();
        sample.io_operations = first(&[
            "blkio.bfq.io_serviced_recursive",
            "blkio.io_serviced_recursive",
            throttle[1],
            "blkio.throttle.io_serviced",
        ])
        .unwrap_or_default();
    } else if let Some(group) = find(groups, "io") {
        (sample.io_bytes, sample.io_operations) = v2_entries(&files::read(&group.dir, "io.stat").unwrap_or_default());
    }
}

type Entries = Vec<(u64, u64, String, u64)>;

/// `8:0 Read 4096` lines; the last one is a `Total` of all devices.
fn v1_entries(text: &str) -> Entries {
    let entry = |line: &str| {
        let mut fields = line.split_whitespace();
        let (major, minor) = device(fields.next()?)?;
        Some((major, minor, fields.next()?.to_owned(), fields.next()?.parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...` lines, named as Docker names them on v2.
fn v2_entries(text: &str) -> (Entries, Entries) {
    let (mut bytes, mut operations) = (Entries::new(), Entries::new());
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let Some((major, minor)) = fields.next().and_then(device) else { continue };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            let (list, name) = match key {
                "rbytes" => (&mut bytes, "read"),
                "wbytes" => (&mut bytes, "write"),
                "rios" => (&mut operations, "read"),
                "wios" => (&mut operations, "write"),
                _ => continue,
            };
            list.push((major, minor, name.to_owned(), value));
        }
    }
    (bytes, operations)
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_keep_both_ends() {
        assert_eq!([10, 500, 1000].map(io_weight), [1, 4950, 10_000]);
    }

    #[test]
    fn both_formats_of_counters_are_read() {
        let v1 = v1_entries("8:0 Read 4096\n8:0 Total 4096\nTotal 4096\n");
        assert_eq!(v1, [(8, 0, "Read".to_owned(), 4096), (8, 0, "Total".to_owned(), 4096)]);
        let (bytes, operations) = v2_entries("259:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n254:0 \n");
        assert_eq!(bytes, [(259, 0, "read".to_owned(), 1), (259, 0, "write".to_owned(), 2)]);
        assert_eq!(operations, [(259, 0, "read".to_owned(), 3), (259, 0, "write".to_owned(), 4)]);
    }
}
