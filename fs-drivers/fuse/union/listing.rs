//! The names of a directory, merged from its layers.

use std::collections::HashSet;
use std::io;

use rustix::fs::{Dir, FileType, OFlags};

use super::Union;
use super::layers::UPPER;
use super::nodes::{Nodes, ROOT};

/// Gets the name, number in its layer, layer and kind of each entry.
type Visit<'a> = &'a mut dyn FnMut(&[u8], u64, u16, fuser::FileType);

/// A directory as it was when it was opened or rewound. Names lie in one piece of memory, as there may be very many.
#[derive(Debug, Default)]
pub(super) struct Listing {
    names: Vec<u8>,
    entries: Vec<Entry>,
    pub(super) filled: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// Where the file is; see [`Union::number_of_entry`].
    pub(super) id: u64,
    start: u32,
    length: u16,
    pub(super) layer: u16,
    pub(super) kind: fuser::FileType,
}

impl Listing {
    fn push(&mut self, name: &[u8], id: u64, layer: u16, kind: fuser::FileType) {
        let start = self.names.len() as u32;
        self.names.extend_from_slice(name);
        self.entries.push(Entry { id, start, length: name.len() as u16, layer, kind });
    }

    pub(super) fn from(&self, offset: u64) -> impl Iterator<Item = (u64, &[u8], Entry)> {
        let first = usize::try_from(offset).unwrap_or(usize::MAX).min(self.entries.len());
        self.entries[first..].iter().zip(offset + 1..).map(|(entry, next)| (next, self.name(entry), *entry))
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        &self.names[entry.start as usize..][..usize::from(entry.length)]
    }
}

impl Entry {
    /// The topmost layer that has it; not told of directories, which others may have too.
    pub(super) fn layer(&self) -> Option<u16> {
        (self.kind != fuser::FileType::Directory).then_some(self.layer)
    }
}

impl Union {
    /// Everything in the directory, `.` and `..` included.
    pub(super) fn list(&self, id: u64) -> io::Result<Listing> {
        let nodes = self.nodes();
        let mut listing = Listing { filled: true, ..Listing::default() };
        listing.push(b".", id, UPPER, fuser::FileType::Directory);
        let parent = if id == ROOT { ROOT } else { nodes.get(id)?.parent };
        listing.push(b"..", parent, UPPER, fuser::FileType::Directory);
        self.each(&nodes, id, &mut |name, id, layer, kind| listing.push(name, id, layer, kind))?;
        Ok(listing)
    }

    pub(super) fn names_in(&self, id: u64) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        self.each(&self.nodes(), id, &mut |name, _, _, _| names.push(name.to_vec()))?;
        Ok(names)
    }

    pub(super) fn is_empty(&self, nodes: &Nodes, id: u64) -> io::Result<bool> {
        let mut empty = true;
        self.each(nodes, id, &mut |_, _, _, _| empty = false)?;
        Ok(empty)
    }

    fn each(&self, nodes: &Nodes, id: u64, visit: Visit<'_>) -> io::Result<()> {
        // One that was removed while it is open has nothing in it.
        if nodes.is_pinned(id) {
            return Ok(());
        }
        let path = nodes.path(id)?;
        let layers = nodes.get(id)?.stack.layers()?;
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        for (depth, &layer) in layers.iter().enumerate() {
            let directory = self.layers.place(layer, &path)?.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
            let mut stream = Dir::new(directory)?;
            while let Some(entry) = stream.read() {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if matches!(name, b"." | b"..") || (depth > 0 && seen.contains(name)) {
                    continue;
                }
                if depth + 1 < layers.len() {
                    seen.insert(name.to_vec());
                }
                self.visit_entry(&path, name, layer, &entry, visit)?;
            }
        }
        Ok(())
    }

    fn visit_entry(
        &self,
        path: &[u8],
        name: &[u8],
        layer: u16,
        entry: &rustix::fs::DirEntry,
        visit: Visit<'_>,
    ) -> io::Result<()> {
        let mut kind = entry.file_type();
        // What may be a whiteout, or is not told.
        let doubtful = match kind {
            FileType::RegularFile => self.layers.hides_by_files(layer),
            kind => matches!(kind, FileType::CharacterDevice | FileType::Unknown),
        };
        if doubtful {
            let place = self.layers.place_in(layer, path, name)?;
            let Some(meta) = place.find()? else { return Ok(()) };
            if self.layers.is_whiteout(&place, &meta)? {
                return Ok(());
            }
            kind = meta.kind();
        }
        visit(name, self.layers.number_of_entry(layer, entry.ino()), layer, file_type(kind));
        Ok(())
    }
}

pub(super) fn file_type(kind: FileType) -> fuser::FileType {
    match kind {
        FileType::Directory => fuser::FileType::Directory,
        FileType::Symlink => fuser::FileType::Symlink,
        FileType::Fifo => fuser::FileType::NamedPipe,
        FileType::Socket => fuser::FileType::Socket,
        FileType::CharacterDevice => fuser::FileType::CharDevice,
        FileType::BlockDevice => fuser::FileType::BlockDevice,
        _ => fuser::FileType::RegularFile,
    }
}
