use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use crate::support::user::{Given, NUMBER};
use crate::support::{Mode, World, image, kernel, skip};

#[test]
fn every_driver_that_takes_no_device_of_its_own_works() {
    for driver in ["overlay", "fuse", "vfs"] {
        let Some(world) = World::bare_of_user(Mode::Embedded, Given::Ranges) else { return };
        let imported = world.feed(&["--storage-driver", driver, "import", "-", "box"], image::busybox());
        if driver != "vfs" && imported.code != 0 {
            skip(&format!("{driver}: {}", imported.err()));
            continue;
        }
        imported.ok();
        assert_eq!(world.berth(&["info", "--format", "{{.Driver}}"]).ok().text(), driver);
        world.start(&["--name", "one"], "rm /etc/group; mkdir /etc/new; chown 1000:29 /etc/new; exec sleep 1000");
        let done = || world.berth(&["exec", "one", "stat", "-c", "%u:%g", "/etc/new"]).text() == "1000:29";
        crate::support::eventually("it has changed", std::time::Duration::from_secs(20), done);
        let changes = world.berth(&["diff", "one"]).ok().text();
        assert!(changes.contains("D /etc/group") && changes.contains("A /etc/new"), "{driver}: {changes}");
        world.berth(&["commit", "one", "made"]).ok();
        world.berth(&["rm", "-f", "one"]).ok();
        let made = world.run(&["--rm", "made", "sh", "-c", "ls /etc/group 2>/dev/null; stat -c %u:%g /etc/new"]).ok();
        assert_eq!(made.text(), "1000:29", "{driver}");
        assert_eq!(world.berth(&["system", "check"]).ok().text(), "nothing is missing or left over", "{driver}");
    }
}

/// Groups that are removed with the value.
struct Groups(Vec<PathBuf>);

impl Groups {
    /// The user's own, of these controllers of v1. None if the host has them in other ways.
    fn of(controllers: &[&str]) -> Option<Self> {
        let mut groups = Self(Vec::new());
        for controller in controllers {
            let top = Path::new("/sys/fs/cgroup").join(controller);
            if !top.join("cgroup.procs").exists() {
                return None;
            }
            let own = top.join(format!("bt-user-{}", std::process::id()));
            fs::create_dir(&own).unwrap();
            groups.0.push(own.clone());
            for entry in fs::read_dir(&own).unwrap().flatten().map(|entry| entry.path()).chain([own]) {
                chown(entry, Some(NUMBER), Some(NUMBER)).unwrap();
            }
        }
        Some(groups)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for group in &self.0 {
            let _ = fs::remove_dir(group.join("berth"));
            if let Err(error) = fs::remove_dir(group) {
                eprintln!("remove {}: {error}", group.display());
            }
        }
    }
}

#[test]
fn groups_that_were_given_limit_and_freeze() {
    if kernel::lacks("pids controller", (4, 3)) {
        return;
    }
    let Some(groups) = Groups::of(&["freezer", "memory", "pids"]) else {
        return skip("no hierarchies of cgroup v1 to give a part of");
    };
    let Some(world) = World::of_user(Mode::Embedded, Given::Ranges) else { return };
    world.user().put_into(&groups.0);
    let flags = ["--name", "one", "--memory", "64m", "--pids-limit", "5"];
    let started = world.run(&[&["-d"], &flags[..], &["box", "sleep", "1000"]].concat()).ok();
    assert!(!started.err().contains("memory"), "{started}");
    world.berth(&["pause", "one"]).ok();
    assert_eq!(world.inspect("one", "{{.State.Status}}"), "paused");
    world.berth(&["unpause", "one"]).ok();
    let fork = "for n in 1 2 3 4 5 6 7 8; do sleep 5 & done 2>/dev/null || exit 7; exit 0";
    assert_ne!(world.berth(&["exec", "one", "sh", "-c", fork]).code, 0);
    let limit = world.berth(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "one"]).ok().text();
    assert!(limit.ends_with("64MiB"), "{limit}");
    world.berth(&["commit", "--pause", "one", "paused"]).ok();
    world.berth(&["rm", "-f", "one"]).ok();
    assert_eq!(world.berth(&["system", "check"]).ok().text(), "nothing is missing or left over");
    drop(world);
}
