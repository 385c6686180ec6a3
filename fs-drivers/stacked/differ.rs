//! A layer's changes by a walk of its own directory, with a look into the layers below for each name.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use berth_arch::root_dir::RootDir;

use super::DIFF;
use super::form::Own;
use crate::diff::same;
use crate::folder::Folder;
use crate::tree::{self, Directories, Meta};
use crate::{Change, ChangeKind, Error, LayerId, Result, Whiteouts};

type Visit<'a> = &'a mut dyn FnMut(Change<'_>) -> io::Result<()>;

/// See [`crate::Differ::changes`].
pub(crate) fn changes(
    folder: &Folder,
    form: Whiteouts,
    id: &LayerId,
    parents: &[LayerId],
    visit: Visit<'_>,
) -> Result<()> {
    let open = |id: &LayerId| -> Result<_> {
        Ok(Directories::one_of(RootDir::from_fd(folder.open_in(id, DIFF)?), parents.len()))
    };
    let upper = open(id)?;
    let lower = parents.iter().map(open).collect::<Result<Vec<_>>>()?;
    let all = Below { layers: (0..lower.len()).collect(), hidden: false };
    let mut search = Search { upper, lower, form, path: PathBuf::new(), pending: Vec::new(), visit };
    search.run(all).map_err(|source| Error::Io {
        action: "find changes at",
        path: folder.layer_path(id).join(DIFF).join(&search.path),
        source,
    })
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
    directory: Rc<OwnedFd>,
    meta: Meta,
    /// If it is a directory: the layers that have part in it.
    layers: Vec<usize>,
}

struct Search<'a> {
    upper: Directories<RootDir>,
    lower: Vec<Directories<RootDir>>,
    form: Whiteouts,
    path: PathBuf,
    /// Directories above that are not reported unless something below them is.
    pending: Vec<PathBuf>,
    visit: Visit<'a>,
}

impl Search<'_> {
    /// Looks at everything below the root. What is left of the directories above waits in a list: depth costs no stack.
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
    fn level(&mut self, below: Below) -> io::Result<Level> {
        let mut names: BTreeMap<CString, bool> = BTreeMap::new();
        if below.hidden {
            for &layer in &below.layers {
                let hidden = listed(self.form, &mut self.lower[layer], &self.path)?;
                names.extend(hidden.into_iter().map(|name| (name, false)));
            }
        }
        let own = listed(self.form, &mut self.upper, &self.path)?;
        names.extend(own.into_iter().map(|name| (name, true)));
        Ok(Level { names: names.into_iter().rev().collect(), below })
    }

    /// Reports what `self.path` is. If it is a directory: what is below it.
    fn entry(&mut self, below: &Below) -> io::Result<Option<Below>> {
        let path = self.path.clone();
        let (directory, name) = self.upper.parent(&path)?;
        let Some(found) = self.form.find(&directory, name)? else { return Ok(None) };
        let shown = self.shown(below)?;
        let Own::Shows(meta) = found else {
            if shown.is_some() {
                self.report(ChangeKind::Deleted)?;
            }
            return Ok(None);
        };
        let opaque = meta.is_dir() && self.form.is_opaque(&directory, name)?;
        let Some(shown) = shown else {
            self.report(ChangeKind::Added)?;
            return Ok(meta.is_dir().then(|| Below { layers: Vec::new(), hidden: false }));
        };
        let same = same((shown.directory.as_fd(), name, &shown.meta), (directory.as_fd(), name, &meta))?;
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
    fn shown(&mut self, below: &Below) -> io::Result<Option<Shown>> {
        let mut found: Option<Shown> = None;
        for &layer in &below.layers {
            let (directory, name) = self.lower[layer].parent(&self.path)?;
            let Some(own) = self.form.find(&directory, name)? else { continue };
            let Own::Shows(meta) = own else { break };
            let is_dir = meta.is_dir();
            if found.is_some() && !is_dir {
                break;
            }
            let opaque = is_dir && self.form.is_opaque(&directory, name)?;
            let shown = found.get_or_insert(Shown { directory, meta, layers: Vec::new() });
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

    fn report(&mut self, kind: ChangeKind) -> io::Result<()> {
        for path in std::mem::take(&mut self.pending) {
            (self.visit)(Change { path: &path, kind: ChangeKind::Modified })?;
        }
        (self.visit)(Change { path: &self.path, kind })
    }
}

fn listed(form: Whiteouts, tree: &mut Directories<RootDir>, path: &Path) -> io::Result<BTreeSet<CString>> {
    form.names(tree::open_dir(tree.open(path)?, OsStr::new("."))?.as_fd())
}
