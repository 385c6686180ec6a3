//! Hooks: which, where, in which order, and what becomes of those that fail.

use crate::support::kernel;
use serde_json::{Value, json};

use super::Oci;

/// Appends its kind, the status it is told, and the namespace that it is in.
fn hook(oci: &Oci, kind: &str, more: &str) -> Value {
    let inside = matches!(kind, "startContainer");
    let file = if inside { "/shared/order".to_owned() } else { oci.world.at("shared/order") };
    let script = format!(
        "state=$(cat); case $state in *'\"status\":\"'*) rest=${{state#*'\"status\":\"'}};; esac; \
         echo {kind} ${{rest%%'\"'*}} $(readlink /proc/self/ns/mnt) $(readlink /proc/self/ns/net) >> {file}; {more}"
    );
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] })
}

const KINDS: &[&str] = &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

#[test]
fn hooks_run_in_order_and_in_their_namespaces() {
    if kernel::lacks("link that names a namespace", (3, 8)) {
        return;
    }
    let oci = Oci::new();
    let hooks: serde_json::Map<_, _> =
        KINDS.iter().map(|kind| ((*kind).to_owned(), json!([hook(&oci, kind, "true")]))).collect();
    oci.created("hooked", "echo program >> /shared/order; sleep 1000", |config| config["hooks"] = hooks.into());
    let lines = || -> Vec<Vec<String>> {
        let text = oci.shared("order").unwrap_or_default();
        text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
    };
    let kinds = || lines().iter().map(|line| line[0].clone()).collect::<Vec<_>>();
    assert_eq!(kinds(), KINDS[..3]);
    oci.call(&["start", "hooked"]).ok();
    crate::support::eventually("the program runs", std::time::Duration::from_secs(20), || kinds().len() == 6);
    let mut started = kinds();
    // The program and the hooks after it run at the same time.
    started[4..].sort();
    assert_eq!(started[..4], KINDS[..4]);
    assert_eq!(started[4..], ["poststart", "program"]);
    oci.call(&["delete", "--force", "hooked"]).ok();
    let all = lines();
    assert_eq!(all.last().unwrap()[0], "poststop");

    let of = |kind: &str| all.iter().find(|line| line[0] == kind).unwrap().clone();
    let statuses: Vec<String> = KINDS.iter().map(|kind| of(kind)[1].clone()).collect();
    assert_eq!(statuses, ["creating", "creating", "creating", "created", "running", "stopped"]);
    let host = of("poststop")[2..].to_vec();
    for kind in ["prestart", "createRuntime", "poststart"] {
        assert_eq!(of(kind)[2..], host, "{kind}");
    }
    let inside = of("createContainer")[2..].to_vec();
    assert!(inside[0] != host[0] && inside[1] != host[1], "{inside:?} {host:?}");
    assert_eq!(of("startContainer")[2..], inside);
}

#[test]
fn a_hook_that_fails_stops_what_it_was_run_for() {
    let oci = Oci::new();
    for kind in &KINDS[..3] {
        let bundle = oci.bundle(kind, "echo ran > /shared/ran", |config| {
            config["hooks"] =
                json!({ *kind: [hook(&oci, kind, "exit 3")], "poststop": [hook(&oci, "poststop", "true")] });
        });
        oci.call(&["create", "--bundle", &bundle, kind]).refused(1, &[kind, "/bin/sh", "ended with code 3"]);
        oci.call(&["state", kind]).refused(1, &["does not exist"]);
        assert!(oci.shared("order").unwrap().lines().last().unwrap().starts_with("poststop stopped"));
    }
    oci.created("start", "echo ran > /shared/ran", |config| {
        config["hooks"] = json!({ "startContainer": [hook(&oci, "startContainer", "exit 4")] });
    });
    oci.call(&["start", "start"]).refused(1, &["startContainer hook /bin/sh", "ended with code 4"]);
    oci.until_status("start", "stopped");
    oci.created("slow", "echo ran > /shared/ran", |config| {
        let mut slow = hook(&oci, "startContainer", "sleep 1000");
        slow["timeout"] = json!(1);
        config["hooks"] = json!({ "startContainer": [slow] });
    });
    oci.call(&["start", "slow"]).refused(1, &["longer than its timeout"]);
    assert_eq!(oci.shared("ran"), None);
    oci.created("after", "sleep 1000", |config| {
        config["hooks"] = json!({ "poststart": [hook(&oci, "poststart", "exit 5")] });
    });
    oci.call(&["start", "after"]).refused(1, &["poststart hook", "ended with code 5"]);
    oci.until_status("after", "stopped");
    let bundle = oci.bundle("relative", "true", |config| {
        config["hooks"] = json!({ "createRuntime": [{ "path": "sh" }] });
    });
    oci.call(&["create", "--bundle", &bundle, "relative"]).refused(1, &["createRuntime hook sh", "absolute"]);
}

#[test]
fn what_a_hook_mounts_in_the_bundles_root_is_in_the_container() {
    let oci = Oci::new();
    let bundle = oci.world.at("mounted");
    let script = format!("mount -t tmpfs none {bundle}/rootfs/etc && echo from a hook > {bundle}/rootfs/etc/made");
    let said = oci.run("mounted", "cat /etc/made", |config| {
        let path = ["PATH=/bin:/usr/bin:/sbin"];
        config["hooks"] =
            json!({ "createContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": path }] });
    });
    assert_eq!(said.ok().text(), "from a hook");
}
