//! `criu_opts` of criu's images/rpc.proto: what a request may ask for.

use std::path::Path;

use super::wire::Message;
use crate::GroupMode;

/// `criu_opts`.
#[derive(Debug, Default)]
pub(super) struct Options(Message);

impl Options {
    pub(super) fn message(&self) -> &Message {
        &self.0
    }

    /// Descriptors of this process, which criu opens through /proc.
    pub(super) fn folders(&mut self, images: i32, work: i32) -> &mut Self {
        self.0.number(1, descriptor(images)).number(17, descriptor(work));
        self
    }

    pub(super) fn pid(&mut self, pid: i32) -> &mut Self {
        self.0.number(2, descriptor(pid));
        self
    }

    pub(super) fn leave_running(&mut self, value: bool) -> &mut Self {
        self.0.flag(3, value);
        self
    }

    pub(super) fn external_sockets(&mut self, value: bool) -> &mut Self {
        self.0.flag(4, value);
        self
    }

    pub(super) fn tcp_established(&mut self, value: bool) -> &mut Self {
        self.0.flag(5, value);
        self
    }

    pub(super) fn shell_job(&mut self, value: bool) -> &mut Self {
        self.0.flag(7, value);
        self
    }

    pub(super) fn file_locks(&mut self, value: bool) -> &mut Self {
        self.0.flag(8, value);
        self
    }

    /// Everything that helps to find a reason.
    pub(super) fn log(&mut self, name: &str) -> &mut Self {
        const INFORMATION: u64 = 3;
        self.0.number(9, INFORMATION).bytes(10, name.as_bytes());
        self
    }

    /// criu says what it has come to, and waits for the answer.
    pub(super) fn notifies(&mut self) -> &mut Self {
        self.0.flag(12, true);
        self
    }

    pub(super) fn root(&mut self, path: &Path) -> &mut Self {
        self.path(13, path)
    }

    pub(super) fn parent(&mut self, path: &Path) -> &mut Self {
        self.path(14, path)
    }

    /// Remember which pages are written to from now on.
    pub(super) fn track_memory(&mut self) -> &mut Self {
        self.0.flag(15, true);
        self
    }

    pub(super) fn groups(&mut self, mode: GroupMode) -> &mut Self {
        let mode = match mode {
            GroupMode::Ignore => 0,
            GroupMode::Soft => 3,
            GroupMode::Full => 4,
            GroupMode::Strict => 5,
        };
        self.0.flag(24, mode != 0).number(34, mode);
        self
    }

    /// Where the container's group is now, in the hierarchy of `controllers` (empty: v2).
    pub(super) fn group_root(&mut self, controllers: &str, path: &Path) -> &mut Self {
        let mut root = Message::default();
        root.bytes(1, controllers.as_bytes()).bytes(2, path.as_os_str().as_encoded_bytes());
        self.0.message(25, &root);
        self
    }

    /// The restored process is a child of this one, not of criu.
    pub(super) fn as_sibling(&mut self) -> &mut Self {
        self.0.flag(26, true);
        self
    }

    /// A descriptor that criu has inherited, for what the images call `key`.
    pub(super) fn inherit(&mut self, key: &str, fd: i32) -> &mut Self {
        let mut inherited = Message::default();
        inherited.bytes(1, key.as_bytes()).number(2, descriptor(fd));
        self.0.message(27, &inherited);
        self
    }

    /// Mounts may come from groups of propagation that are outside.
    pub(super) fn external_propagation(&mut self) -> &mut Self {
        self.0.flag(29, true).flag(30, true);
        self
    }

    /// What is not the container's own, as criu(8) has it under `--external`.
    pub(super) fn external(&mut self, what: &str) -> &mut Self {
        self.0.bytes(37, what.as_bytes());
        self
    }

    /// The folder of the group that is frozen meanwhile.
    pub(super) fn freeze(&mut self, group: &Path) -> &mut Self {
        self.path(44, group)
    }

    /// The controlling side of a terminal is outside; at a restore it is handed over.
    pub(super) fn terminal_outside(&mut self) -> &mut Self {
        self.0.flag(50, true);
        self
    }

    /// How packets are kept from connections meanwhile; without, criu starts iptables.
    pub(super) fn network_lock(&mut self, lock: NetworkLock) -> &mut Self {
        self.0.number(64, lock as u64);
        self
    }

    fn path(&mut self, field: u32, path: &Path) -> &mut Self {
        self.0.bytes(field, path.as_os_str().as_encoded_bytes());
        self
    }
}

/// `criu_network_lock_method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NetworkLock {
    Nftables = 2,
    Skip = 3,
}

/// Never negative.
fn descriptor(number: i32) -> u64 {
    number.unsigned_abs().into()
}
