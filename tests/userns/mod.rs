//! Root's containers with users of their own: on each way in which their files become theirs, by mounts that map owners and by
//! copies of the images.

mod files;
mod ranges;
mod rules;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::{Mode, World};

/// The first number of the container's users, and of its groups.
const FIRST: u32 = 300_000;
const FIRST_GROUP: u32 = 400_000;

/// A world whose containers have users of their own by the configuration.
fn remapped(mode: Mode) -> World {
    let world = World::new(Mode::Embedded);
    tables(&world, &format!("berth:{FIRST}:65536\n"), &format!("berth:{FIRST_GROUP}:65536\n"));
    configure(&world, "userns-remap = 'default'\n");
    if mode == Mode::Daemon {
        world.start_daemon();
    }
    world
}

/// Covers the host's tables of ranges.
pub(crate) fn tables(world: &World, users: &str, groups: &str) {
    let mut binds = Vec::new();
    for (name, text) in [("subuid", users), ("subgid", groups)] {
        fs::write(world.path(name), text).unwrap();
        binds.push((world.path(name), Path::new("/etc").join(name)));
    }
    world.cover(binds);
}

pub(crate) fn configure(world: &World, text: &str) {
    fs::write(world.path("berth.toml"), text).unwrap();
    world.set("BERTH_CONFIG", &world.at("berth.toml"));
}

fn owner(path: impl AsRef<Path>) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.uid(), found.gid())
}

/// As [`remapped`], by copies of the images.
fn copied() -> World {
    let world = remapped(Mode::Embedded);
    world.set("BERTH_PRETEND_WITHOUT", "idmap");
    world
}

/// Runs with mounts that map owners, and with copies.
macro_rules! both_ways {
    ($($tests:tt)*) => {
        twice! {
            by_mounts: crate::userns::remapped(crate::support::Mode::Embedded),
            by_copies: crate::userns::copied();
            $($tests)*
        }
    };
}
use both_ways;
