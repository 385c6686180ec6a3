//! A disk, or a quota, that is full: how much was missing.

use std::io::{self, ErrorKind};

use crate::size::show;

/// Less is as good as one.
const BLOCK: u64 = 4096;

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Adds to an error of that kind how many bytes were still to be written, at least.
pub(crate) fn tell(error: io::Error, missing: u64) -> io::Error {
    if !is_full(&error) {
        return error;
    }
    io::Error::new(error.kind(), format!("{error}: at least {} more are needed", show(missing.max(BLOCK))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_added_to_errors_of_a_full_disk_alone() {
        let told = |code, missing| tell(io::Error::from_raw_os_error(code), missing).to_string();
        assert_eq!(
            told(libc::ENOSPC, 12_345_678),
            "No space left on device (os error 28): at least 12.3MB more are needed"
        );
        assert!(told(libc::EDQUOT, 0).ends_with("at least 4.1kB more are needed"));
        assert!(told(libc::ENOSPC, u64::MAX).ends_with("at least 18446.7PB more are needed"));
        assert_eq!(told(libc::EIO, 5), io::Error::from_raw_os_error(libc::EIO).to_string());
    }
}
