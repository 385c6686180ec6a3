//! Files of /proc, /sys and the like, whose text the kernel makes when it is read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// More than all but a few of them.
const USUAL: usize = 8 << 10;

/// The whole file, in one read where it fits. They say 0 for their length, so that the standard library begins with a
/// few bytes, and for each further read the kernel makes the text anew.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut text = vec![0; USUAL];
    let mut length = 0;
    loop {
        match file.read(&mut text[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if length == text.len() {
            text.resize(length * 2, 0);
        }
    }
    text.truncate(length);
    Ok(text)
}

/// As [`read`], for text.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_is_read_to_its_end_whatever_its_length() {
        let file = std::env::temp_dir().join(format!("berth-kernel-file-{}", std::process::id()));
        for length in [0, 1, super::USUAL - 1, super::USUAL, 3 * super::USUAL + 1] {
            std::fs::write(&file, vec![b'x'; length]).unwrap();
            assert_eq!(super::read_to_string(&file).unwrap(), "x".repeat(length));
        }
        std::fs::remove_file(&file).unwrap();
        assert!(super::read("/proc/self/status").unwrap().starts_with(b"Name:"));
    }
}
