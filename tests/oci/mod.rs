//! Bundles of busybox, and the runtime's command line over them.

mod agent;
mod checkpoint;
mod hooks;
mod hostile;
mod limits;
mod peers;
mod programs;
mod verbs;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::call::{Background, call};
use crate::support::world::LIMIT;
use crate::support::{Mode, Outcome, World, eventually};

/// A root of runtime states, with bundles beside it. Its end removes every container.
pub(crate) struct Oci {
    pub(crate) world: World,
}

impl Oci {
    pub(crate) fn new() -> Self {
        let oci = Self { world: World::bare(Mode::Embedded) };
        fs::create_dir(oci.world.path("shared")).unwrap();
        oci
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.world.path("oci")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command();
        command.arg("oci").arg("--root").arg(self.root()).args(arguments);
        command
    }

    pub(crate) fn call(&self, arguments: &[&str]) -> Outcome {
        call(self.command(arguments), &[], LIMIT)
    }

    pub(crate) fn feed(&self, arguments: &[&str], input: &[u8]) -> Outcome {
        call(self.command(arguments), input, LIMIT)
    }

    pub(crate) fn background(&self, arguments: &[&str]) -> Background {
        Background::start(self.command(arguments))
    }

    /// A bundle of that name whose program is `sh -c SCRIPT`, as `change` has it. Its folder.
    pub(crate) fn bundle(&self, name: &str, script: &str, change: impl FnOnce(&mut Value)) -> String {
        let folder = self.world.path(name);
        let root = folder.join("rootfs");
        for part in ["bin", "proc", "sys", "dev", "etc", "tmp", "shared"] {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in [
            "sh", "cat", "echo", "id", "ls", "sleep", "true", "env", "readlink", "stty", "tty", "kill", "grep", "ps",
            "touch",
        ] {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        let mut config = config(script);
        config["mounts"].as_array_mut().unwrap().push(json!({
            "destination": "/shared", "type": "bind", "source": self.world.path("shared"), "options": ["bind"]
        }));
        change(&mut config);
        write(&folder.join("config.json"), &config.to_string());
        folder.to_str().unwrap().to_owned()
    }

    /// A container that waits for its start.
    #[track_caller]
    pub(crate) fn created(&self, id: &str, script: &str, change: impl FnOnce(&mut Value)) {
        let bundle = self.bundle(id, script, change);
        self.leave(&["create", "--bundle", &bundle, id]);
    }

    /// A call whose program keeps the streams that it gets: nobody reads what it prints.
    #[track_caller]
    pub(crate) fn leave(&self, arguments: &[&str]) {
        let null = || std::process::Stdio::null();
        let errors = fs::File::create(self.world.path("errors")).unwrap();
        let status = self.command(arguments).stdin(null()).stdout(null()).stderr(errors).status().unwrap();
        assert!(status.success(), "{}", fs::read_to_string(self.world.path("errors")).unwrap());
    }

    #[track_caller]
    pub(crate) fn started(&self, id: &str, script: &str, change: impl FnOnce(&mut Value)) {
        self.created(id, script, change);
        self.call(&["start", id]).ok();
    }

    /// `run` of a bundle that is made for it; everything of it is gone afterwards.
    pub(crate) fn run(&self, id: &str, script: &str, change: impl FnOnce(&mut Value)) -> Outcome {
        let bundle = self.bundle(id, script, change);
        let outcome = self.call(&["run", "--bundle", &bundle, id]);
        self.call(&["state", id]).refused(1, &["does not exist"]);
        fs::remove_dir_all(&bundle).unwrap();
        outcome
    }

    #[track_caller]
    pub(crate) fn state(&self, id: &str) -> Value {
        self.call(&["state", id]).ok().json()
    }

    #[track_caller]
    pub(crate) fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn until_status(&self, id: &str, status: &str) {
        eventually(&format!("{id} is {status}"), LIMIT, || {
            let asked = self.call(&["state", id]);
            asked.code == 0 && asked.json()["status"] == status
        });
    }

    /// What is in the folder that every container has at /shared.
    pub(crate) fn shared(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.world.path("shared").join(name)).ok()
    }

    #[track_caller]
    pub(crate) fn until_shared(&self, name: &str) -> String {
        eventually(&format!("{name} is written"), Duration::from_secs(20), || {
            self.shared(name).is_some_and(|text| text.ends_with('\n'))
        });
        self.shared(name).unwrap()
    }
}

impl Drop for Oci {
    fn drop(&mut self) {
        let left = self.call(&["list", "-q"]).lines();
        for id in left {
            let removed = self.call(&["delete", "--force", &id]);
            if removed.code != 0 {
                eprintln!("{removed}");
            }
        }
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

const CAPABILITIES: &[&str] =
    &["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_MKNOD"];

fn config(script: &str) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs" },
        "hostname": "bundled",
        "annotations": { "made.by": "tests" },
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh", "-c", script],
            "env": ["PATH=/bin", "HOME=/"],
            "cwd": "/",
            "capabilities": { "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES }
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] }
        ],
        "linux": {
            "namespaces": [
                { "type": "mount" }, { "type": "network" }, { "type": "uts" }, { "type": "pid" }, { "type": "ipc" }
            ]
        }
    })
}
