//! Storage drivers as containers see them.

mod fuse;

use crate::support::{Mode, World};

/// A world whose state is made with a driver; `None`, said why, where that does not work.
pub(super) fn world(driver: &str) -> Option<World> {
    let world = World::bare(Mode::Embedded);
    let made = world.feed(&["--storage-driver", driver, "import", "-", "box"], crate::support::image::busybox());
    if made.code != 0 {
        crate::support::skip(&format!("no {driver} here: {}", made.err()));
        return None;
    }
    Some(world)
}
