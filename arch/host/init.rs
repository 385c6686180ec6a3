//! Which init system runs the host.

use std::path::Path;

/// Folders that an init system makes when it runs, and nothing else does.
const TRACES: &[(&str, &str)] = &[
    // sd_booted(3)
    ("/run/systemd/system", "systemd"),
    ("/run/openrc/softlevel", "openrc"),
    ("/run/runit", "runit"),
    ("/run/s6-rc", "s6"),
    ("/run/s6/services", "s6"),
];

pub(super) fn detect() -> String {
    if let Some((_, name)) = TRACES.iter().find(|(path, _)| Path::new(path).exists()) {
        return (*name).to_owned();
    }
    let name = std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
    // Who is not root cannot read the link; then the name alone has to do.
    let program = std::fs::read_link("/proc/1/exe").ok();
    let program = program.as_deref().and_then(|path| path.file_name()?.to_str()).unwrap_or_default();
    of_process(name.trim(), program)
}

fn of_process(name: &str, program: &str) -> String {
    match (name, program) {
        ("systemd", _) => "systemd",
        ("runit" | "runit-init", _) => "runit",
        ("s6-svscan", _) => "s6",
        ("openrc-init", _) => "openrc",
        (_, "busybox") => "busybox",
        ("init", "" | "init" | "sysvinit") => "sysvinit",
        ("", _) => "none",
        (other, _) => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_1_tells_what_traces_do_not() {
        for (name, program, init) in [
            ("init", "init", "sysvinit"),
            ("init", "busybox", "busybox"),
            ("s6-svscan", "s6-svscan", "s6"),
            ("tini", "tini", "tini"),
            ("", "", "none"),
        ] {
            assert_eq!(of_process(name, program), init);
        }
    }
}
