//! Looking names up in the layers.

use std::io;

use rustix::fs::Stat;

use super::Union;
use super::layers::UPPER;
use super::nodes::{Nodes, Stack};
use crate::tree::Meta;

/// What the union has at a name.
pub(super) struct Found {
    pub(super) id: u64,
    pub(super) stat: Stat,
    pub(super) stack: Stack,
}

impl Found {
    /// A lower file that has other names there.
    pub(super) fn is_linked_below(&self) -> bool {
        !self.is_dir() && self.stack.top() != UPPER && Meta::from(self.stat).nlink > 1
    }

    pub(super) fn is_dir(&self) -> bool {
        matches!(self.stack, Stack::Directory(_))
    }
}

impl Union {
    /// What `name` is in the directory at `path`, which the layers `above` have.
    pub(super) fn find(&self, above: &[u16], path: &[u8], name: &[u8]) -> io::Result<Option<Found>> {
        let mut found: Option<(u16, Stat)> = None;
        let mut stack = Vec::new();
        for (depth, &layer) in above.iter().enumerate() {
            let place = self.layers.place_in(layer, path, name)?;
            let stat = match place.stat() {
                Ok(stat) => stat,
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => continue,
                Err(error) => return Err(error),
            };
            let meta = Meta::from(stat);
            if self.layers.is_whiteout(&place, &meta) {
                break;
            }
            if !meta.is_dir() {
                if found.is_none() {
                    found = Some((layer, stat));
                }
                break;
            }
            found.get_or_insert((layer, stat));
            stack.push(layer);
            if depth + 1 < above.len() && self.layers.is_opaque(&place) {
                break;
            }
        }
        let Some((layer, stat)) = found else { return Ok(None) };
        let stack = if stack.is_empty() { Stack::File(layer) } else { Stack::directory(stack) };
        self.identify(layer, path, name, stat, stack).map(Some)
    }

    /// As [`Self::find`] for a name that is no directory, and that `layer` is the topmost to have.
    pub(super) fn find_in(&self, layer: u16, path: &[u8], name: &[u8]) -> io::Result<Option<Found>> {
        match self.layers.place_in(layer, path, name)?.stat() {
            Ok(stat) if !Meta::from(stat).is_dir() => {
                self.identify(layer, path, name, stat, Stack::File(layer)).map(Some)
            }
            Ok(_) => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn identify(&self, layer: u16, path: &[u8], name: &[u8], stat: Stat, stack: Stack) -> io::Result<Found> {
        let meta = Meta::from(stat);
        let mut found = Found { id: self.layers.number(layer, &meta), stat, stack };
        if layer == UPPER
            && self.layers.has_lower()
            && let Some(origin) = self.layers.origin(&self.layers.place_in(layer, path, name)?)
        {
            found.id = origin;
        }
        Ok(found)
    }

    /// What the kernel asks for: found, and counted as given.
    pub(super) fn lookup(&self, parent: u64, name: &[u8]) -> io::Result<Option<Found>> {
        let found = {
            let nodes = self.nodes();
            self.find_below(&nodes, parent, name)?
        };
        if let Some(found) = &found {
            self.nodes_mut().give(found.id, parent, name, &found.stack);
        }
        Ok(found)
    }

    pub(super) fn find_below(&self, nodes: &Nodes, parent: u64, name: &[u8]) -> io::Result<Option<Found>> {
        let path = nodes.path(parent)?;
        self.find(nodes.get(parent)?.stack.layers()?, &path, name)
    }

    /// What the layers below the upper one have at a name.
    pub(super) fn is_below(&self, nodes: &Nodes, parent: u64, name: &[u8]) -> io::Result<bool> {
        let path = nodes.path(parent)?;
        let layers = nodes.get(parent)?.stack.layers()?;
        let lower = layers.strip_prefix(&[UPPER]).unwrap_or(layers);
        Ok(!lower.is_empty() && self.find(lower, &path, name)?.is_some())
    }
}
