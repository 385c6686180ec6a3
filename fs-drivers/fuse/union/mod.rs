//! The union itself: one tree of several layers, of which the topmost may be written to.
//!
//! `layers.rs` has the folders and what is kept about files in them, `nodes.rs` what the kernel knows, `find.rs` looks names
//! up, `copy_up.rs` brings files into the upper layer, `names.rs` and `rename.rs` change directories, `attributes.rs` files,
//! `handles.rs` has what is open. `filesystem.rs` takes the kernel's requests, and `service.rs` (files), `directories.rs` and
//! `replies.rs` answer them with these.
//!
//! Locks: `nodes` is held while paths are put together and used, for writing by whatever changes names. It is never waited
//! for with `handles` held. `copying` is taken first.

mod attributes;
mod copy_up;
mod directories;
mod filesystem;
mod find;
mod handles;
mod layers;
mod listing;
mod names;
mod nodes;
mod rename;
mod replies;
mod service;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustix::io::Errno;

pub(super) use self::filesystem::Served;
use self::handles::Handles;
use self::layers::{Layers, UPPER};
use self::nodes::{Nodes, Stack};
use super::options::Options;

#[derive(Debug)]
pub(super) struct Union {
    layers: Layers,
    nodes: RwLock<Nodes>,
    handles: Mutex<Handles>,
    /// Held while a file's data is copied up: once is enough.
    copying: Mutex<()>,
}

impl Union {
    pub(super) fn open(base: &OwnedFd, options: &Options) -> io::Result<Self> {
        let layers = Layers::open(base, options)?;
        let mut stack = Vec::new();
        for layer in 0..layers.count() {
            stack.push(layer);
            if layers.is_opaque(&layers.place(layer, b"")?)? {
                break;
            }
        }
        let nodes = RwLock::new(Nodes::new(Stack::directory(stack)));
        Ok(Self { layers, nodes, handles: Mutex::default(), copying: Mutex::default() })
    }

    fn nodes(&self) -> RwLockReadGuard<'_, Nodes> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn nodes_mut(&self) -> RwLockWriteGuard<'_, Nodes> {
        self.nodes.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_writable(&self) -> bool {
        self.layers.is_writable()
    }

    fn is_volatile(&self) -> bool {
        self.layers.volatile
    }

    fn file_system(&self) -> io::Result<rustix::fs::StatVfs> {
        Ok(rustix::fs::fstatvfs(self.layers.top())?)
    }

    /// Whether it can be changed as it is. Nodes that are not known are nobody's.
    fn is_upper(&self, id: u64) -> bool {
        self.nodes().find(id).is_none_or(|node| node.stack.top() == UPPER)
    }

    /// Whether all that is in the directory can be.
    fn is_upper_alone(&self, id: u64) -> bool {
        self.nodes().find(id).is_none_or(|node| node.stack.layers().is_ok_and(|layers| *layers == [UPPER]))
    }

    fn writable(&self) -> io::Result<()> {
        if self.is_writable() { Ok(()) } else { Err(Errno::ROFS.into()) }
    }
}
