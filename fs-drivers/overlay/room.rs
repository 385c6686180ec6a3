//! How many layers go into one overlay mount; a longer chain is flattened from there on.

use berth_arch::kernel::{self, overlay};
use berth_arch::pretend;

use super::probe;
use crate::folder::Folder;
use crate::stacked::DIFF;
use crate::{LayerId, Result, Whiteouts};

/// OVL_MAX_STACK (fs/overlayfs/params.h).
const LAYERS_MAX: usize = 500;

/// What is left of a page of options (4,095 bytes) for the names of lower layers, with all the options of
/// `options.rs` and the longest layer names for upper and working directory in it.
const NAMES_MAX: usize = 3600;

/// Whether the kernel takes several lower layers: since 4.0, and earlier where a vendor brought it. There it is tried
/// once and remembered.
pub(super) fn stacks_several(folder: &Folder, form: Whiteouts) -> Result<bool> {
    if pretend::without("overlay-multi-lower") {
        return Ok(false);
    }
    if kernel::is_at_least(4, 0) {
        return Ok(true);
    }
    let root = folder.path().parent().unwrap_or(folder.path());
    let found = folder.learn("several", || {
        let answer = if probe::stacks_several(root, form)? { "yes" } else { "no" };
        Ok(answer.to_owned())
    })?;
    Ok(found == "yes")
}

/// At least 2: how many of `id` and `parents` one mount can name.
pub(super) fn of(id: &LayerId, parents: &[LayerId]) -> usize {
    let mut left = NAMES_MAX;
    let fits = [id].into_iter().chain(parents).take_while(|layer| {
        let length = layer.as_str().len() + 1 + DIFF.len() + 1;
        let fits = length <= left;
        left = left.saturating_sub(length);
        fits
    });
    let fits = fits.count();
    // Asked only when it matters.
    if fits > parents.len() || overlay::takes_layers_singly() { LAYERS_MAX } else { fits.min(LAYERS_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_do_not_fit_a_page_leave_room_for_what_does() {
        let id = |n: usize| format!("{}{n:04}", "x".repeat(60)).parse::<LayerId>().unwrap();
        let parents: Vec<_> = (0..300).map(id).collect();
        let expected = if overlay::takes_layers_singly() { LAYERS_MAX } else { NAMES_MAX / 67 };
        assert_eq!(of(&id(999), &parents), expected);
        assert_eq!(of(&id(999), &parents[..10]), LAYERS_MAX);
    }
}
