//! The hugetlb controller: huge pages, by their size.

use oci_spec::runtime::LinuxHugepageLimit;

use super::files::set;
use super::layout::Version;
use super::limits::{Groups, Warnings, find};
use crate::{Error, Result};

pub(super) fn apply(groups: &Groups, limit: &LinuxHugepageLimit, warnings: &mut Warnings) -> Result<()> {
    let size = limit.page_size();
    if !size.ends_with("B") || !size.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(Error::InvalidArgument(format!("huge page size {size:?}: use one like \"2MB\"")));
    }
    let mut done = false;
    if let Some(group) = find(groups, "hugetlb") {
        let suffix = match group.version {
            Version::V1 => "limit_in_bytes",
            Version::V2 => "max",
        };
        let text = limit.limit().to_string();
        done = set(&group.dir, &format!("hugetlb.{size}.{suffix}"), &text)?;
        // Reservations fail with an error where faults beyond the limit give SIGBUS; since 5.7.
        set(&group.dir, &format!("hugetlb.{size}.rsvd.{suffix}"), &text)?;
    }
    if !done {
        warnings.absent(&format!("limits on huge pages of {size}"), "Limitation discarded");
    }
    Ok(())
}
