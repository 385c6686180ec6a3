//! `checkpoint` and `restore`, as runc has them.

use std::fs;
use std::time::Duration;

use super::Oci;
use crate::support::criu::criu;
use crate::support::eventually;

const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i >> /shared/out; sleep 0.1; done";

/// Every number from 1 on, once.
#[track_caller]
fn count(oci: &Oci) -> usize {
    let text = oci.shared("out").unwrap_or_default();
    let whole = text.lines().take(text.matches('\n').count());
    for (index, line) in whole.clone().enumerate() {
        assert_eq!(line, (index + 1).to_string(), "{text}");
    }
    whole.count()
}

#[track_caller]
fn counts_on(oci: &Oci) {
    let before = count(oci);
    eventually("it counts on", Duration::from_secs(20), || count(oci) > before + 2);
}

#[test]
fn a_bundles_program_goes_on_where_it_was() {
    let Some(path) = criu() else { return };
    let oci = Oci::new();
    oci.world.set("BERTH_CRIU", path);
    oci.started("c", COUNTER, |_| {});
    counts_on(&oci);
    let (images, bundle) = (oci.world.at("images"), oci.world.at("c"));
    oci.call(&["checkpoint", "--image-path", &images, "--leave-running", "c"]).ok();
    assert_eq!(oci.status("c"), "running");
    counts_on(&oci);
    fs::remove_dir_all(&images).unwrap();
    oci.call(&["checkpoint", "--image-path", &images, "--work-path", &oci.world.at("work"), "c"]).ok();
    assert!(oci.world.path("work/dump.log").is_file());
    oci.call(&["state", "c"]).refused(1, &["does not exist"]);
    let pid_file = oci.world.at("pid");
    let restore = ["restore", "--detach", "--image-path", &images, "--bundle", &bundle, "--pid-file", &pid_file];
    // Under another name, too.
    for id in ["c", "d"] {
        if id == "d" {
            fs::write(oci.world.path("shared/out"), "").unwrap();
        }
        oci.leave(&[&restore[..], &[id]].concat());
        assert_eq!(oci.status(id), "running");
        assert_eq!(fs::read_to_string(&pid_file).unwrap(), oci.state(id)["pid"].to_string());
        oci.call(&["exec", id, "true"]).ok();
        if id == "c" {
            counts_on(&oci);
        }
        oci.call(&["kill", id, "KILL"]).ok();
        oci.until_status(id, "stopped");
        oci.call(&["delete", id]).ok();
    }
}

#[test]
fn what_is_no_checkpoint_is_refused_and_leaves_no_container() {
    let Some(path) = criu() else { return };
    let oci = Oci::new();
    oci.world.set("BERTH_CRIU", path);
    let bundle = oci.bundle("c", "sleep 1000", |_| {});
    oci.call(&["restore", "--bundle", &bundle, "--image-path", "nowhere", "c"]).refused(1, &["there is no checkpoint"]);
    fs::create_dir(oci.world.path("empty")).unwrap();
    let refused = oci.call(&["restore", "--bundle", &bundle, "--image-path", "empty", "c"]);
    refused.refused(1, &["none of berth's"]);
    oci.call(&["state", "c"]).refused(1, &["does not exist"]);
    oci.created("waits", "sleep 1000", |_| {});
    oci.call(&["checkpoint", "waits"]).refused(1, &["created"]);
}
