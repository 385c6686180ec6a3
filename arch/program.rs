//! Programs of the host that do what the kernel offers no stable call for.

use std::path::PathBuf;

/// Distributions put them where ordinary users' PATH does not look.
const FOLDERS: &[&str] = &["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Where the program is, if it is installed: on the PATH, or in the folders of the system's own programs.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(FOLDERS.iter().map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// What a program says of its failure: the first line that has something in it.
pub fn first_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_its_whole_name() {
        assert!(find("sh").is_some_and(|path| path.is_absolute() && path.ends_with("sh")));
        assert_eq!(find("no-such-program"), None);
    }

    #[test]
    fn the_first_line_with_a_reason_is_taken() {
        assert_eq!(first_line(b"\n  cannot open 'x': it is away\nusage:\n"), "cannot open 'x': it is away");
        assert_eq!(first_line(b" \n"), "no reason given");
    }
}
