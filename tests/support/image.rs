//! Images that the harness makes itself, and archives of any kind, hostile ones included.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;

/// One member of a tar archive, written byte by byte: nothing is checked, so that archives may lie.
pub(crate) struct Member<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: u8,
    pub(crate) mode: u32,
    pub(crate) link: &'a [u8],
    pub(crate) size: u64,
    pub(crate) device: (u32, u32),
    pub(crate) content: &'a [u8],
}

impl Default for Member<'_> {
    fn default() -> Self {
        Self { name: b"", kind: b'0', mode: 0o644, link: b"", size: 0, device: (0, 0), content: b"" }
    }
}

pub(crate) fn file<'a>(name: &'a str, content: &'a [u8]) -> Member<'a> {
    Member { name: name.as_bytes(), content, size: content.len() as u64, ..Member::default() }
}

pub(crate) fn folder(name: &str) -> Member<'_> {
    Member { name: name.as_bytes(), kind: b'5', mode: 0o755, ..Member::default() }
}

pub(crate) fn symlink<'a>(name: &'a str, target: &'a str) -> Member<'a> {
    Member { name: name.as_bytes(), kind: b'2', mode: 0o777, link: target.as_bytes(), ..Member::default() }
}

pub(crate) fn hardlink<'a>(name: &'a str, target: &'a str) -> Member<'a> {
    Member { name: name.as_bytes(), kind: b'1', link: target.as_bytes(), ..Member::default() }
}

impl Member<'_> {
    /// Header (ustar) and padded content. `size` goes into the header, whatever the content is.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut header = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        if self.size < 0o100_000_000_000 {
            put(124, format!("{:011o}\0", self.size).as_bytes());
        } else {
            put(124, &[0x80, 0, 0, 0]);
            put(128, &self.size.to_be_bytes());
        }
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}\0{:07o}\0", self.device.0, self.device.1).as_bytes());
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut all = header.to_vec();
        all.extend_from_slice(self.content);
        all.resize(all.len().next_multiple_of(512), 0);
        all
    }
}

pub(crate) fn archive(members: &[Member<'_>]) -> Vec<u8> {
    let mut all: Vec<u8> = members.iter().flat_map(Member::bytes).collect();
    all.extend_from_slice(&[0; 1024]);
    all
}

/// A root file system of busybox: every applet, a user, and the usual folders.
pub(crate) fn busybox() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let program = super::find_program("busybox").expect("busybox (Debian's busybox-static; `ci/setup test`)");
        let listed = Command::new(&program).arg("--list").output().expect("busybox --list");
        let program = fs::read(program).expect("read busybox");
        let names: Vec<String> = String::from_utf8_lossy(&listed.stdout)
            .lines()
            .filter(|name| *name != "busybox")
            .map(|name| format!("bin/{name}"))
            .collect();
        let mut members = Vec::new();
        for name in ["bin/", "dev/", "etc/", "home/", "proc/", "root/", "run/", "sys/", "usr/", "var/", "mnt/"] {
            members.push(folder(name));
        }
        members.push(Member { mode: 0o1777, ..folder("tmp/") });
        members.push(Member { mode: 0o755, ..file("bin/busybox", &program) });
        members.extend(names.iter().map(|name| symlink(name, "busybox")));
        members.push(file(
            "etc/passwd",
            b"root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
        ));
        members.push(file("etc/group", b"root:x:0:\ndaemon:x:1:\nuser:x:1000:\naudio:x:29:user\n"));
        members.push(file("etc/not-a-program", b"just text\n"));
        archive(&members)
    })
}
