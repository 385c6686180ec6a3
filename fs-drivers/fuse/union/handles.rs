//! What the kernel has open.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use fuser::BackingId;

use super::layers::UPPER;
use super::listing::Listing;

/// Gives a file to the kernel to read and write by itself.
pub(super) type Register<'a> = &'a dyn Fn(BorrowedFd<'_>) -> std::io::Result<BackingId>;

#[derive(Debug, Default)]
pub(super) struct Handles {
    next: u64,
    files: HashMap<u64, Handle>,
    listings: HashMap<u64, Arc<std::sync::Mutex<Listing>>>,
    opened: HashMap<u64, Opened>,
    /// The kernel has refused a backing file.
    no_passthrough: bool,
}

#[derive(Debug)]
struct Handle {
    node: u64,
    file: Arc<OwnedFd>,
    /// Open in a lower layer: what is read is the copy's as soon as there is one.
    lower: bool,
    through: bool,
}

/// How a node is open: the kernel takes one way at a time, and one backing file (fs/fuse/iomode.c).
#[derive(Debug, Default)]
struct Opened {
    cached: u32,
    through: u32,
    backing: Option<Arc<BackingId>>,
}

impl Handles {
    /// `backing` registers the file with the kernel; `None` where that is not wanted. Returns the handle, and what the kernel
    /// reads and writes itself through.
    pub(super) fn add(
        &mut self,
        node: u64,
        layer: u16,
        file: OwnedFd,
        backing: Option<Register<'_>>,
    ) -> (u64, Option<Arc<BackingId>>) {
        let opened = self.opened.entry(node).or_default();
        if let Some(register) = backing
            && !self.no_passthrough
            && opened.cached == 0
            && opened.backing.is_none()
        {
            match register(file.as_fd()) {
                Ok(id) => opened.backing = Some(Arc::new(id)),
                Err(_) => self.no_passthrough = true,
            }
        }
        let backing = opened.backing.clone();
        match backing {
            Some(_) => opened.through += 1,
            None => opened.cached += 1,
        }
        let lower = layer != UPPER;
        let number = self.number();
        self.files.insert(number, Handle { node, file: Arc::new(file), lower, through: backing.is_some() });
        (number, backing)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn file(&self, handle: u64) -> Option<Arc<OwnedFd>> {
        self.files.get(&handle).map(|handle| handle.file.clone())
    }

    pub(super) fn close(&mut self, handle: u64) {
        let Some(handle) = self.files.remove(&handle) else { return };
        let Some(opened) = self.opened.get_mut(&handle.node) else { return };
        match handle.through {
            true => opened.through -= 1,
            false => opened.cached -= 1,
        }
        if opened.through == 0 {
            opened.backing = None;
        }
        if opened.through + opened.cached == 0 {
            self.opened.remove(&handle.node);
        }
    }

    /// Whoever has the lower file open reads the copy from now on: all that is open of a file shares its pages.
    pub(super) fn copied_up(&mut self, node: u64, file: &OwnedFd) {
        if !self.opened.contains_key(&node) {
            return;
        }
        let mut shared: Option<Arc<OwnedFd>> = None;
        for handle in self.files.values_mut().filter(|handle| handle.node == node && handle.lower) {
            if shared.is_none() {
                shared = rustix::io::fcntl_dupfd_cloexec(file, 3).ok().map(Arc::new);
            }
            let Some(file) = &shared else { return };
            (handle.file, handle.lower) = (file.clone(), false);
        }
    }

    pub(super) fn add_listing(&mut self) -> u64 {
        let number = self.number();
        self.listings.insert(number, Arc::default());
        number
    }

    pub(super) fn listing(&self, handle: u64) -> Option<Arc<std::sync::Mutex<Listing>>> {
        self.listings.get(&handle).cloned()
    }

    pub(super) fn close_listing(&mut self, handle: u64) {
        self.listings.remove(&handle);
    }
}
