//! A layer's changes by a walk of its own directory, with a look into the layers below for each name.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use berth_arch::root_dir::RootDir;

use super::{DIFF, Layered};
use crate::diff::same;
use crate::tree::{self, Meta};
use crate::{Change, ChangeKind, Differ, Error, LayerId, Result};

type Visit<'a> = &'a mut dyn FnMut(Change<'_>) -> io::Result<()>;

impl Differ for Layered {
    fn changes(&self, id: &LayerId, parents: &[LayerId], visit: Visit<'_>) -> Result<()> {
        let open = |id: &LayerId| -> Result<RootDir> { Ok(RootDir::from_fd(self.folder.open_in(id, DIFF)?)) };
        let upper = open(id)?;
        let lower = parents.iter().map(open).collect::<Result<Vec<_>>>()?;
        let all = Below { layers: (0..lower.len()).collect(), hidden: false };
        let opaque = self.opaque();
        let mut search = Search { upper, lower, opaque, path: PathBuf::new(), pending: Vec::new(), visit };
        search.run(all).map_err(|source| Error::Io {
            action: "find changes at",
            path: self.diff(id).join(&search.path),
            source,
        })
    }
}

/// Which layers below have the directory that is being looked at.
struct Below {
    /// Indices of the chain, nearest first.
    layers: Vec<usize>,
    /// The directory was replaced: what they have is gone, except where the layer has it again.
    hidden: bool,
}

/// A directory that is being looked at.
struct Level {
    /// What is left to look at, last first, and whether the layer itself has it.
    names: Vec<(CString, bool)>,
    below: Below,
}

/// What the layers below show at a name.
struct Shown {
    directory: OwnedFd,
    meta: Meta,
    /// If it is a directory: the layers that have part in it.
    layers: Vec<usize>,
}

struct Search<'a> {
    upper: RootDir,
    lower: Vec<RootDir>,
    opaque: &'static str,
    path: PathBuf,
    /// Directories above that are not reported unless something below them is.
    pending: Vec<PathBuf>,
    visit: Visit<'a>,
}

impl Search<'_> {
    /// Looks at everything below the root. Directories are opened from the root each time and wait in a list: depth
    /// costs neither descriptors nor stack.
    fn run(&mut self, below: Below) -> io::Result<()> {
        let mut levels = vec![self.level(below)?];
        while let Some(level) = levels.last_mut() {
            let Some((name, own)) = level.names.pop() else {
                levels.pop();
                if self.pending.last() == Some(&self.path) {
                    self.pending.pop();
                }
                self.path.pop();
                continue;
            };
            self.path.push(tree::os(&name));
            let inner = if own {
                self.entry(&level.below)?
            } else {
                if self.shown(&level.below)?.is_some() {
                    self.report(ChangeKind::Deleted)?;
                }
                None
            };
            match inner {
                Some(below) => levels.push(self.level(below)?),
                None => drop(self.path.pop()),
            }
        }
        Ok(())
    }

    /// The names of the layer's directory `self.path` and of what it hides below.
    fn level(&self, below: Below) -> io::Result<Level> {
        let mut names: BTreeMap<CString, bool> = BTreeMap::new();
        if below.hidden {
            for &layer in &below.layers {
                names.extend(self.names(&self.lower[layer])?.into_iter().map(|name| (name, false)));
            }
        }
        names.extend(self.names(&self.upper)?.into_iter().map(|name| (name, true)));
        Ok(Level { names: names.into_iter().rev().collect(), below })
    }

    /// Reports what `self.path` is. If it is a directory: what is below it.
    fn entry(&mut self, below: &Below) -> io::Result<Option<Below>> {
        let own = self.upper.parent_no_links(&self.path)?;
        let Some(meta) = Meta::find(&own.directory, &own.name)? else { return Ok(None) };
        let shown = self.shown(below)?;
        if tree::is_whiteout(&own.directory, &own.name, &meta) {
            if shown.is_some() {
                self.report(ChangeKind::Deleted)?;
            }
            return Ok(None);
        }
        let opaque = meta.is_dir() && is_opaque(&own.directory, &own.name, self.opaque)?;
        let Some(shown) = shown else {
            self.report(ChangeKind::Added)?;
            return Ok(meta.is_dir().then(|| Below { layers: Vec::new(), hidden: false }));
        };
        let lower = (shown.directory.as_fd(), own.name.as_os_str(), &shown.meta);
        let same = same(lower, (own.directory.as_fd(), &own.name, &meta))?;
        if !same {
            self.report(ChangeKind::Modified)?;
        }
        if !meta.is_dir() {
            return Ok(None);
        }
        if same {
            self.pending.push(self.path.clone());
        }
        Ok(Some(Below { layers: shown.layers, hidden: opaque || below.hidden }))
    }

    /// What the layers that have the directory above show at `self.path`.
    fn shown(&self, below: &Below) -> io::Result<Option<Shown>> {
        let mut found: Option<Shown> = None;
        for &layer in &below.layers {
            let place = self.lower[layer].parent_no_links(&self.path)?;
            let Some(meta) = Meta::find(&place.directory, &place.name)? else { continue };
            if tree::is_whiteout(&place.directory, &place.name, &meta) || (found.is_some() && !meta.is_dir()) {
                break;
            }
            let is_dir = meta.is_dir();
            let opaque = is_dir && is_opaque(&place.directory, &place.name, self.opaque)?;
            let shown = found.get_or_insert(Shown { directory: place.directory, meta, layers: Vec::new() });
            if !is_dir {
                break;
            }
            shown.layers.push(layer);
            if opaque {
                break;
            }
        }
        Ok(found)
    }

    fn names(&self, root: &RootDir) -> io::Result<Vec<CString>> {
        let found = root.parent_no_links(&self.path)?;
        tree::names(tree::open_dir(&found.directory, &found.name)?.as_fd())
    }

    fn report(&mut self, kind: ChangeKind) -> io::Result<()> {
        for path in std::mem::take(&mut self.pending) {
            (self.visit)(Change { path: &path, kind: ChangeKind::Modified })?;
        }
        (self.visit)(Change { path: &self.path, kind })
    }
}

fn is_opaque(directory: &OwnedFd, name: &OsStr, attribute: &str) -> io::Result<bool> {
    Ok(tree::get_xattr(directory, name, attribute)?.as_deref() == Some(b"y"))
}
