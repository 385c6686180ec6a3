//! Control groups: limits, pausing, counters.

use serde_json::json;

use super::Oci;

/// Whether this host lets containers be paused.
fn pausable(oci: &Oci) -> bool {
    let said = oci.call(&["pause", "one"]);
    if said.code != 0 {
        crate::support::skip(&format!("no freezer here: {}", said.err()));
    }
    said.code == 0
}

#[test]
fn a_container_is_paused_and_resumed() {
    let oci = Oci::new();
    oci.started("one", "i=0; while :; do i=$((i+1)); echo $i > /shared/count; sleep 0.05; done", |_| {});
    if !pausable(&oci) {
        return;
    }
    assert_eq!(oci.status("one"), "paused");
    oci.call(&["exec", "one", "true"]).refused(1, &["paused"]);
    oci.call(&["pause", "one"]).refused(1, &["paused"]);
    oci.call(&["start", "one"]).refused(1, &["paused"]);
    let before = oci.shared("count");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(oci.shared("count"), before);
    oci.call(&["resume", "one"]).ok();
    assert_eq!(oci.status("one"), "running");
    oci.call(&["resume", "one"]).refused(1, &["not paused"]);
    oci.call(&["pause", "one"]).ok();
    oci.call(&["kill", "one", "KILL"]).ok();
    oci.until_status("one", "stopped");
}

#[test]
fn limits_are_set_changed_and_counted() {
    let oci = Oci::new();
    oci.started("one", "sleep 1000", |config| {
        config["linux"]["resources"] = json!({ "pids": { "limit": 50 }, "memory": { "limit": 100_000_000 } });
    });
    let stats = || oci.call(&["events", "--stats", "one"]).ok().json();
    let found = stats();
    assert_eq!((&found["type"], &found["id"]), (&json!("stats"), &json!("one")));
    assert!(found["data"]["memory"]["usage"]["usage"].as_u64().unwrap() > 0, "{found}");
    let page = |bytes: u64| bytes / 4096 * 4096;
    assert_eq!(found["data"]["memory"]["usage"]["limit"], page(100_000_000));
    if found["data"]["pids"]["current"] == 0 {
        return crate::support::skip("no pids controller here");
    }
    assert_eq!(found["data"]["pids"]["limit"], 50);
    oci.call(&["update", "--pids-limit", "60", "--memory", "200000000", "one"]).ok();
    let found = stats();
    assert_eq!(found["data"]["pids"]["limit"], 60);
    assert_eq!(found["data"]["memory"]["usage"]["limit"], page(200_000_000));
    oci.feed(&["update", "--resources", "-", "one"], br#"{"pids":{"limit":70}}"#).ok();
    assert_eq!(stats()["data"]["pids"]["limit"], 70);
    oci.call(&["update", "one"]).refused(1, &["--resources"]);
    oci.feed(&["update", "--resources", "-", "one"], b"{").refused(1, &["parse the resources"]);
    let mut events = oci.background(&["events", "--interval", "100ms", "one"]);
    crate::support::eventually("three lines", std::time::Duration::from_secs(20), || {
        events.so_far().lines().count() >= 3
    });
    assert!(events.is_running());
    oci.call(&["kill", "one", "KILL"]).ok();
    events.wait(std::time::Duration::from_secs(20)).ok();
}

#[test]
fn a_container_is_in_the_group_that_its_specification_names() {
    let oci = Oci::new();
    let name = format!("berth-test-{}", std::process::id());
    let groups = |config: &mut serde_json::Value, path: &str| config["linux"]["cgroupsPath"] = json!(path);
    let said = oci.run("plain", "cat /proc/self/cgroup", |config| groups(config, &format!("/{name}/inner"))).ok().out();
    assert!(said.contains(&format!("/{name}/inner")), "{said}");
    let bundle =
        oci.bundle("unit", "cat /proc/self/cgroup", |config| groups(config, &format!("{name}.slice:pre:unit")));
    let said = oci.call(&["--systemd-cgroup", "run", "--bundle", &bundle, "unit"]).ok().out();
    assert!(said.contains("/pre-unit.scope"), "{said}");
    let bundle = oci.bundle("path", "true", |config| groups(config, "/plain/path"));
    oci.call(&["--systemd-cgroup", "run", "--bundle", &bundle, "path"])
        .refused(1, &["slice:prefix:name", "/plain/path"]);
    // A group in which others are is not taken, and they live on.
    oci.started("first", "sleep 1000", |config| groups(config, &format!("/{name}/shared")));
    let second = oci.run("second", "true", |config| groups(config, &format!("/{name}/shared")));
    second.refused(1, &["other processes are in it"]);
    assert_eq!(oci.status("first"), "running");
    oci.call(&["delete", "--force", "first"]).ok();
    // The parents stay; they are this test's.
    let all = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    for hierarchy in all.chain(["/sys/fs/cgroup".into()]) {
        let _ = std::fs::remove_dir(hierarchy.join(&name));
        let mut slice = hierarchy;
        let mut stem = String::new();
        let mut made = Vec::new();
        for part in name.split('-') {
            stem = if stem.is_empty() { part.to_owned() } else { format!("{stem}-{part}") };
            slice = slice.join(format!("{stem}.slice"));
            made.push(slice.clone());
        }
        made.iter().rev().for_each(|folder| drop(std::fs::remove_dir(folder)));
    }
}

#[test]
fn a_host_without_control_groups_is_told_from_one_that_must_have_them() {
    let oci = Oci::new();
    let bundle = oci.bundle("none", "exit 3", |_| {});
    let run = |flags: &[&str]| {
        let mut command = oci.command(&[]);
        command.env("BERTH_PRETEND_WITHOUT", "cgroup").args(flags).args(["run", "--bundle", &bundle, "none"]);
        crate::support::call::call(command, &[], crate::support::world::LIMIT)
    };
    run(&[]).ended(3);
    run(&["--rootless", "false"]).refused(1, &["--rootless false", "control groups"]);
    oci.call(&["state", "none"]).refused(1, &["does not exist"]);
}
