//! Looking names up in the layers.

use std::io;

use rustix::fs::Stat;

use super::Union;
use super::layers::{Place, UPPER};
use super::listing::Entry;
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
        self.stack.is_dir()
    }
}

impl Union {
    /// What `name` is in the directory at `path`, which the layers `above` have. `copies`: some of what the upper one has there
    /// may be copied up.
    fn find(&self, above: &[u16], copies: bool, path: &[u8], name: &[u8]) -> io::Result<Option<Found>> {
        let mut found: Option<(u16, Place<'_>, Stat)> = None;
        let mut stack = Vec::new();
        for (depth, &layer) in above.iter().enumerate() {
            let place = self.layers.place_in(layer, path, name)?;
            let stat = match place.stat() {
                Ok(stat) => stat,
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => continue,
                Err(error) => return Err(error),
            };
            let meta = Meta::from(stat);
            if self.layers.is_whiteout(&place, &meta)? {
                break;
            }
            if !meta.is_dir() {
                if found.is_none() {
                    found = Some((layer, place, stat));
                }
                break;
            }
            stack.push(layer);
            let is_last = depth + 1 == above.len() || self.layers.is_opaque(&place)?;
            found.get_or_insert((layer, place, stat));
            if is_last {
                break;
            }
        }
        let Some((layer, place, stat)) = found else { return Ok(None) };
        let stack = match stack.as_slice() {
            [] => Stack::File(layer),
            [UPPER] if !self.layers.has_copies(&place)? => Stack::Own,
            _ => Stack::directory(stack),
        };
        Ok(Some(self.identify(layer, copies, &place, stat, stack)?))
    }

    /// As [`Self::find_below`] for a name that is no directory, and that `layer` is the topmost to have.
    pub(super) fn find_in(&self, nodes: &Nodes, layer: u16, parent: u64, name: &[u8]) -> io::Result<Option<Found>> {
        let place = self.layers.place_in(layer, &nodes.path(parent)?, name)?;
        match place.stat() {
            Ok(stat) if !Meta::from(stat).is_dir() => {
                let copies = nodes.get(parent)?.stack != Stack::Own;
                Ok(Some(self.identify(layer, copies, &place, stat, Stack::File(layer))?))
            }
            Ok(_) => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn identify(&self, layer: u16, copies: bool, place: &Place<'_>, stat: Stat, stack: Stack) -> io::Result<Found> {
        let origin = if copies && layer == UPPER { self.layers.origin(place)? } else { None };
        Ok(Found { id: origin.unwrap_or_else(|| self.layers.number(layer, &stat.into())), stat, stack })
    }

    /// The number that a listed entry is known by.
    pub(super) fn number_of_entry(&self, nodes: &Nodes, parent: u64, name: &[u8], entry: &Entry) -> io::Result<u64> {
        if entry.layer != UPPER || matches!(name, b"." | b"..") || nodes.get(parent)?.stack == Stack::Own {
            return Ok(entry.id);
        }
        let place = self.layers.place_in(UPPER, &nodes.path(parent)?, name)?;
        Ok(self.layers.origin(&place)?.unwrap_or(entry.id))
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
        let stack = &nodes.get(parent)?.stack;
        self.find(stack.layers()?, *stack != Stack::Own, &path, name)
    }

    /// What the layers below the upper one have at a name.
    pub(super) fn is_below(&self, nodes: &Nodes, parent: u64, name: &[u8]) -> io::Result<bool> {
        let path = nodes.path(parent)?;
        let layers = nodes.get(parent)?.stack.layers()?;
        let lower = layers.strip_prefix(&[UPPER]).unwrap_or(layers);
        Ok(!lower.is_empty() && self.find(lower, false, &path, name)?.is_some())
    }
}
