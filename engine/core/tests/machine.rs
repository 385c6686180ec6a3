//! An engine of a test's own, and an image for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_api::models::{ContainerCreateBody, HostConfig};
use berth_core::{Engine, EngineConfig, WaitCondition};
use berth_image::ImportOptions;

/// Why nothing can run in a container here.
pub(crate) fn why_not() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("they need root".to_owned());
    }
    busybox().is_none().then(|| "they need a static busybox".to_owned())
}

fn busybox() -> Option<PathBuf> {
    let statically_linked = |path: &PathBuf| {
        // A program that names an interpreter is not static.
        std::fs::read(path)
            .is_ok_and(|bytes| !bytes.windows(8).take(4096).any(|part| part == b"/lib64/l" || part == b"/lib/ld-"))
    };
    ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(statically_linked)
}

pub(crate) fn open(root: &Path) -> Engine {
    Engine::open(EngineConfig::within(root)).unwrap()
}

pub(crate) struct Machine {
    pub(crate) engine: Arc<Engine>,
    pub(crate) folder: tempfile::TempDir,
}

impl Machine {
    /// With the image `box`.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("berth-core-").tempdir().unwrap();
        let engine = Arc::new(open(folder.path()));
        let options = ImportOptions {
            reference: Some("box:latest".parse::<berth_image::Reference>().unwrap()),
            changes: ["CMD [\"/bin/true\"]", "ENV COLOUR=blue", "VOLUME /data/here"].map(str::to_owned).into(),
            ..ImportOptions::default()
        };
        engine.images().import(archive().as_slice(), &options, &mut |_| {}).unwrap();
        Self { engine, folder }
    }

    pub(crate) fn create(&self, words: &[&str], host: HostConfig) -> String {
        self.engine.create(None, None, body(words, host)).unwrap().id
    }

    /// Creates, starts and waits: the exit code and the log.
    pub(crate) fn run(&self, words: &[&str], host: HostConfig) -> (i64, String) {
        let id = self.create(words, host);
        let waited = self.engine.wait(&id, WaitCondition::NextExit).unwrap();
        self.engine.start(&id).unwrap();
        let (code, _) = waited.finish(&|| false).unwrap();
        let container = self.engine.find(&id).unwrap();
        let log = std::fs::read_to_string(self.engine.log_path(&container)).unwrap_or_default();
        let lines = log.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["log"].as_str().unwrap().to_owned()
        });
        let text = lines.collect();
        self.engine.remove(&id, Default::default()).unwrap();
        (code, text)
    }
}

pub(crate) fn body(words: &[&str], host: HostConfig) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some("box".to_owned()),
        cmd: Some(words.iter().map(|&word| word.to_owned()).collect()).filter(|list: &Vec<_>| !list.is_empty()),
        host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..host }),
        ..ContainerCreateBody::default()
    }
}

fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut file = |path: &str, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        archive.append_data(&mut header, path, bytes).unwrap();
    };
    file("etc/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\nweb:x:33:33::/srv:/bin/sh\n");
    file("etc/group", 0o644, b"root:x:0:\nweb:x:33:\nadm:x:4:web\n");
    if let Some(busybox) = busybox() {
        file("bin/busybox", 0o755, &std::fs::read(busybox).unwrap());
        for name in
            ["sh", "true", "cat", "echo", "sleep", "id", "env", "hostname", "pwd", "ls", "mount", "grep", "kill"]
        {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            archive.append_link(&mut header, format!("bin/{name}"), "busybox").unwrap();
        }
    }
    archive.into_inner().unwrap()
}
