//! What the kernel knows of the union: one node for each inode that it has looked up and not yet forgotten.
//!
//! A node is small, as there may be hundreds of thousands: its parent, its name there, and the layers that have it. Paths
//! are put together when they are needed, so that a renamed directory is one change.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::layers::{Layers, Place, UPPER};

pub(super) const ROOT: u64 = 1;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: u64,
    pub(super) name: Box<[u8]>,
    pub(super) stack: Stack,
    /// How often the kernel has been given it.
    lookups: u32,
    /// Nodes that have it as their parent: as long as there are any, it is kept for their paths.
    children: u32,
}

/// The layers that have a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stack {
    /// Not a directory: the topmost layer that has it.
    File(u16),
    /// A directory: topmost first.
    Directory(Thin),
    /// A directory of the upper layer alone, in which nothing is a copy: the numbers of files are their own.
    Own,
}

/// Layers behind one pointer: a node in a table of hundreds of thousands is as large as its largest kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::box_collection, reason = "a pointer less in each node")]
pub(super) struct Thin(Box<Vec<u16>>);

impl Stack {
    pub(super) fn directory(layers: impl Into<Vec<u16>>) -> Self {
        Self::Directory(Thin(Box::new(layers.into())))
    }

    pub(super) fn is_dir(&self) -> bool {
        !matches!(self, Self::File(_))
    }

    /// Whether several layers make up the directory.
    pub(super) fn is_merged(&self) -> bool {
        matches!(self, Self::Directory(layers) if layers.0.len() > 1)
    }

    pub(super) fn top(&self) -> u16 {
        match self {
            Self::File(layer) => *layer,
            Self::Directory(layers) => layers.0[0],
            Self::Own => UPPER,
        }
    }

    pub(super) fn layers(&self) -> io::Result<&[u16]> {
        match self {
            Self::File(_) => Err(Errno::NOTDIR.into()),
            Self::Directory(layers) => Ok(&layers.0),
            Self::Own => Ok(&[UPPER]),
        }
    }
}

#[derive(Debug)]
pub(super) struct Nodes {
    nodes: HashMap<u64, Node>,
    /// Nodes whose name has gone while they are still in use, or may be reached by another one.
    pins: HashMap<u64, OwnedFd>,
}

impl Nodes {
    pub(super) fn new(root: Stack) -> Self {
        let root = Node { parent: ROOT, name: Box::default(), stack: root, lookups: 1, children: 0 };
        Self { nodes: HashMap::from([(ROOT, root)]), pins: HashMap::new() }
    }

    pub(super) fn get(&self, id: u64) -> io::Result<&Node> {
        Ok(self.nodes.get(&id).ok_or(Errno::STALE)?)
    }

    pub(super) fn find(&self, id: u64) -> Option<&Node> {
        self.nodes.get(&id)
    }

    pub(super) fn set_stack(&mut self, id: u64, stack: Stack) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.stack = stack;
        }
    }

    pub(super) fn is_pinned(&self, id: u64) -> bool {
        self.pins.contains_key(&id)
    }

    /// From now on `id` is what `fd` (O_PATH) has open, whatever becomes of its name.
    pub(super) fn pin(&mut self, id: u64, fd: OwnedFd) {
        if self.nodes.contains_key(&id) {
            self.pins.insert(id, fd);
        }
    }

    /// The path of a node in its layers. ENOENT for one that has lost its name.
    pub(super) fn path(&self, id: u64) -> io::Result<Vec<u8>> {
        let mut names: Vec<&[u8]> = Vec::with_capacity(16);
        let mut here = id;
        while here != ROOT {
            if self.is_pinned(here) {
                return Err(Errno::NOENT.into());
            }
            let node = self.get(here)?;
            names.push(&node.name);
            here = node.parent;
        }
        names.reverse();
        Ok(names.join(&b'/'))
    }

    /// Where the topmost file of a node is.
    pub(super) fn place<'a>(&self, layers: &'a Layers, id: u64) -> io::Result<Place<'a>> {
        if let Some(pin) = self.pins.get(&id) {
            return Ok(layers.pinned(pin.as_fd()));
        }
        layers.place(self.get(id)?.stack.top(), &self.path(id)?)
    }

    /// The kernel gets a node (once more). What is known of it already is newer than what was just found, except for a
    /// name where it had lost its own.
    pub(super) fn give(&mut self, id: u64, parent: u64, name: &[u8], stack: &Stack) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.lookups += 1;
            if self.pins.remove(&id).is_some() {
                self.nodes.get_mut(&id).expect("just found").stack = stack.clone();
                self.moved(id, parent, name);
            }
            return;
        }
        let node = Node { parent, name: name.into(), stack: stack.clone(), lookups: 1, children: 0 };
        self.nodes.insert(id, node);
        self.adopt(parent);
    }

    fn adopt(&mut self, parent: u64) {
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.children += 1;
        }
    }

    fn abandon(&mut self, parent: u64) {
        if let Some(node) = self.nodes.get_mut(&parent) {
            node.children -= 1;
            self.drop_unused(parent);
        }
    }

    /// A node has another name now.
    pub(super) fn moved(&mut self, id: u64, parent: u64, name: &[u8]) {
        self.adopt(parent);
        if let Some(node) = self.nodes.get_mut(&id) {
            let old = std::mem::replace(&mut node.parent, parent);
            node.name = name.into();
            self.abandon(old);
        }
    }

    pub(super) fn forget(&mut self, id: u64, count: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.lookups = node.lookups.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
            self.drop_unused(id);
        }
    }

    fn drop_unused(&mut self, id: u64) {
        let mut here = id;
        while here != ROOT {
            let Some(node) = self.nodes.get(&here) else { return };
            if node.lookups > 0 || node.children > 0 {
                return;
            }
            let parent = node.parent;
            self.nodes.remove(&here);
            self.pins.remove(&here);
            let Some(node) = self.nodes.get_mut(&parent) else { return };
            node.children -= 1;
            here = parent;
        }
        // A directory of a hundred thousand files leaves a table behind that nothing fills any more.
        if self.nodes.capacity() > 4096 && self.nodes.len() < self.nodes.capacity() / 8 {
            self.nodes.shrink_to(self.nodes.len() * 2);
        }
    }

    /// Everything below `top` is now in the upper layer alone.
    pub(super) fn lifted(&mut self, top: u64) {
        let below: Vec<u64> = self.nodes.keys().copied().filter(|&id| self.is_below(id, top)).collect();
        for id in below {
            let node = self.nodes.get_mut(&id).expect("just listed");
            node.stack = match &node.stack {
                Stack::File(_) => Stack::File(UPPER),
                _ => Stack::directory([UPPER]),
            };
        }
    }

    fn is_below(&self, id: u64, top: u64) -> bool {
        let mut here = id;
        loop {
            if here == top {
                return true;
            }
            match self.nodes.get(&here) {
                Some(node) if here != ROOT && !self.is_pinned(here) => here = node.parent,
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_goes_when_it_is_forgotten_and_its_parents_with_it() {
        let mut nodes = Nodes::new(Stack::directory([0, 1]));
        nodes.give(10, ROOT, b"d", &Stack::directory([1]));
        nodes.give(11, 10, b"f", &Stack::File(1));
        nodes.give(11, 10, b"f", &Stack::File(1));
        assert_eq!(nodes.path(11).unwrap(), b"d/f");
        nodes.forget(10, 1);
        assert_eq!(nodes.path(11).unwrap(), b"d/f");
        nodes.forget(11, 1);
        assert!(nodes.find(11).is_some());
        nodes.forget(11, 1);
        assert!(nodes.find(11).is_none() && nodes.find(10).is_none());
    }

    #[test]
    fn a_moved_directory_takes_what_is_in_it_along() {
        let mut nodes = Nodes::new(Stack::directory([0]));
        for (id, name) in [(10, b"a"), (20, b"b")] {
            nodes.give(id, ROOT, name, &Stack::directory([0]));
        }
        nodes.give(11, 10, b"f", &Stack::File(0));
        nodes.moved(10, 20, b"c");
        assert_eq!(nodes.path(11).unwrap(), b"b/c/f");
        assert!(nodes.is_below(11, 20) && !nodes.is_below(20, 10));
    }
}
