//! Why criu has failed, from its log.

use std::path::Path;

/// Of one line `(00.123456) 1: Error (criu/file.c:12): reason`.
pub(super) fn reason(line: &str) -> Option<String> {
    let (_, after) = line.split_once("Error (")?;
    let (_, reason) = after.split_once("): ")?;
    let reason = reason.trim();
    (!reason.is_empty()).then(|| reason.to_owned())
}

/// What criu calls an error and goes on after: it would like to have more descriptors.
const HARMLESS: &[&str] = &["rlimit: Can't setup RLIMIT_NOFILE for self"];

/// What the errors in it say, the first ones, for they are the reasons of the others.
pub(super) fn reasons(path: &Path) -> Option<String> {
    const MOST: usize = 3;
    let bytes = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let mut found: Vec<String> = Vec::new();
    for reason in text.lines().filter_map(reason) {
        let harmless = HARMLESS.iter().any(|known| reason.starts_with(known));
        if !harmless && !found.contains(&reason) && found.len() < MOST {
            found.push(reason);
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_follows_the_place_in_the_source() {
        let line = "(00.005155)      1: Error (criu/tty.c:409): tty: Found slave peer index 0 without master\n";
        assert_eq!(reason(line).unwrap(), "tty: Found slave peer index 0 without master");
        assert_eq!(reason("(00.001) Warn  (criu/kerndat.c:1): no Error here"), None);
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("dump.log");
        let before = "(00.0) ok\nError (criu/rlimit.c:5): rlimit: Can't setup RLIMIT_NOFILE for self: no\n";
        std::fs::write(&log, format!("{before}{line}{line}Error (criu/a.c:1): that is why\n")).unwrap();
        assert_eq!(reasons(&log).unwrap(), "tty: Found slave peer index 0 without master; that is why");
    }
}
