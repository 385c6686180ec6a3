//! The suite on other ground: with newer facilities pretended away, in a user namespace, on an overlay.

use std::process::Command;

use super::bed::{ONLY, is_meant};
use super::each;
use crate::registry;

/// Runs a part of this very program again, `command` up to the part's name.
pub(super) fn again(mut command: Command, part: &str) -> Option<String> {
    let output = command.arg(part).arg("--nocapture").output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stdout));
    Some(text)
}

#[test]
fn everything_works_without_the_newer_facilities() {
    // And with as many descriptors as most sessions have.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 1024 && exec \"$@\"", "sh"]).arg(std::env::current_exe().unwrap());
    command.env("BERTH_PRETEND_WITHOUT", "openat2,reflink,copy_file_range,mount-api,statx");
    again(command, "conformance::layers");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("BERTH_PRETEND_WITHOUT", "openat2,reflink,copy_file_range,mount-api,statx");
    again(command, "conformance::removal");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("BERTH_PRETEND_WITHOUT", "fuse-passthrough,nowait,copy_file_range,openat2");
    again(command, "conformance::agreement");
}

/// Kernels before 4.0 take one lower layer: every chain is flattened. Before 6.8 the names of all layers have to fit a
/// page.
#[test]
fn overlay_works_with_one_lower_layer_and_with_a_page_of_names() {
    if !is_meant("overlay") {
        return;
    }
    for (absent, parts) in [
        ("overlay-multi-lower,openat2,reflink", &["layers", "removal", "properties", "archives"][..]),
        ("overlay-lowerdir+", &["layers"]),
    ] {
        for part in parts {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.env("BERTH_PRETEND_WITHOUT", absent).env(ONLY, "overlay");
            again(command, &format!("conformance::{part}"));
        }
    }
}

#[test]
fn without_overlay_another_driver_is_taken_and_the_reason_said() {
    if !is_meant("overlay") {
        return;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("BERTH_PRETEND_WITHOUT", "overlay");
    let text = again(command, "conformance::layers::what_is_written").unwrap();
    assert!(
        text.contains("skipped overlay: overlay is pretended to be absent")
            && text.contains("driver fuse")
            && text.contains("driver vfs"),
        "{text}"
    );
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("BERTH_PRETEND_WITHOUT", "overlay");
    again(command, "conformance::removal::a_state_keeps_its_driver");
}

#[test]
fn in_a_user_namespace_overlay_keeps_its_books_in_user_attributes() {
    if !is_meant("overlay") {
        return;
    }
    let in_namespace = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "--"]);
        command
    };
    if !in_namespace().arg("true").status().is_ok_and(|status| status.success()) {
        return eprintln!("skipped: no user namespaces, or no unshare(1)");
    }
    for part in
        ["layers::removed_and", "layers::a_thrown", "layers::chains", "layers::mounts_can", "layers::a_directory"]
    {
        let mut command = in_namespace();
        command.arg(std::env::current_exe().unwrap());
        let text = again(command, &format!("conformance::{part}")).unwrap();
        eprintln!("{part}: {}", text.replace('\n', " "));
    }
}

#[test]
fn overlay_on_overlay_is_refused_with_a_remedy() {
    each(|bed| {
        if bed.driver.name() != "overlay" {
            return;
        }
        bed.layer("a", &[], |_| {});
        bed.layer("b", &["a"], |_| {});
        let selection = bed.write("b", &["a"], |root| {
            let state = root.join("state");
            let explicit = registry::select(&state, Some("overlay"), None).err().unwrap().to_string();
            (explicit, registry::select(&state, None, None).map(|s| (s.name, s.refused)).unwrap())
        });
        let (explicit, (name, refused)) = selection;
        assert!(explicit.contains("is itself on an overlay file system (put the state folder"), "{explicit}");
        assert!(name != "overlay" && refused[0].name == "overlay", "{name}: {refused:?}");
    });
}
