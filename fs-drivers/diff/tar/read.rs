//! Reads an archive as a stream of entries, and hands every byte that is not file data to a record.

use std::io::{self, BufRead, BufReader, Read};

use super::pax::Pax;
use super::{BLOCK, Kind, Member, Sparse, number, sparse};
use crate::diff::split::Record;

/// The longest extended header: attributes have at most 64 KiB each.
const EXTENSION_MAX: u64 = 8 << 20;
const BUFFER: usize = 256 << 10;

/// Errors are `InvalidData` with the entry's name, or what the stream itself reported.
pub(in crate::diff) struct Reader<'a, R: Read> {
    input: BufReader<Counted<R>>,
    record: Option<Record<'a>>,
    /// Data of the current entry that is still to be read, and the padding after it.
    remaining: u64,
    padding: u64,
    /// Names the entry in errors.
    current: String,
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

impl<'a, R: Read> Reader<'a, R> {
    pub(in crate::diff) fn new(input: R, record: Option<Record<'a>>) -> Self {
        let input = BufReader::with_capacity(BUFFER, Counted { inner: input, count: 0 });
        Self { input, record, remaining: 0, padding: 0, current: "its first header".to_owned() }
    }

    /// Bytes of the stream that were taken so far.
    pub(in crate::diff) fn position(&self) -> u64 {
        self.input.get_ref().count - self.input.buffer().len() as u64
    }

    /// Bytes of the current entry's data that were not taken yet.
    pub(in crate::diff) fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The next entry. After the last one the stream is read to its end.
    pub(in crate::diff) fn next(&mut self) -> io::Result<Option<Member>> {
        let (mut pax, mut long_name, mut long_link) = (None, None, None);
        loop {
            self.skip_data()?;
            let Some(block) = self.header()? else { return Ok(None) };
            let flag = block[156];
            let size = number::parse(&block[124..136]).and_then(|size| u64::try_from(size).ok());
            if let Some(name) = plain_name(&block) {
                self.current = String::from_utf8_lossy(&name).into_owned();
            }
            let size = size.ok_or_else(|| self.wrong("its size is malformed"))?;
            match flag {
                b'x' => {
                    let body = self.extension(size)?;
                    pax = Some(Pax::parse(&body).map_err(|message| self.wrong(&message))?);
                }
                // As Docker, which takes nothing of a global header: they carry comments.
                b'g' => drop(self.extension(size)?),
                b'L' => long_name = Some(until_nul(&self.extension(size)?).to_vec()),
                b'K' => long_link = Some(until_nul(&self.extension(size)?).to_vec()),
                b'V' => self.set_data(size)?,
                _ => {
                    return self.member(&block, size, pax.unwrap_or_default(), long_name, long_link).map(Some);
                }
            }
        }
    }

    fn member(
        &mut self,
        block: &[u8; BLOCK],
        size: u64,
        pax: Pax,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> io::Result<Member> {
        let name = pax.path.or(long_name).or_else(|| plain_name(block)).unwrap_or_default();
        self.current = String::from_utf8_lossy(&name).into_owned();
        let link = pax.linkpath.or(long_link).unwrap_or_else(|| until_nul(&block[157..257]).to_vec());
        let flag = block[156];
        let kind = match flag {
            // A file whose name ends in a slash is how the oldest archives have directories.
            b'0' | 0 if name.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' | b'S' => Kind::Regular,
            b'1' => Kind::Link,
            b'2' => Kind::Symlink,
            b'3' => Kind::Character,
            b'4' => Kind::Block,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => return Err(self.wrong(&format!("its type {:?} is not known", char::from(other)))),
        };
        let size = if kind == Kind::Regular { pax.size.unwrap_or(size) } else { 0 };
        self.set_data(size)?;
        let mut member = Member {
            mode: self.number(&block[100..108], "mode")? as u32 & 0o7777,
            uid: self.id(pax.uid, &block[108..116], "owner")?,
            gid: self.id(pax.gid, &block[116..124], "group")?,
            mtime: match pax.mtime {
                Some(mtime) => mtime,
                None => (self.number(&block[136..148], "time")?, 0),
            },
            device: (0, 0),
            name,
            link,
            kind,
            size,
            sparse: None,
            xattrs: pax.xattrs,
        };
        if matches!(kind, Kind::Character | Kind::Block) {
            let part = |field: &[u8]| {
                u32::try_from(self.number(field, "device number")?)
                    .map_err(|_| self.wrong("its device number is malformed"))
            };
            member.device = (part(&block[329..337])?, part(&block[337..345])?);
        }
        if kind == Kind::Regular {
            member.sparse = self.sparse(block, pax.sparse, pax.map_in_data)?;
            member.size = self.remaining;
        }
        Ok(member)
    }

    fn sparse(
        &mut self,
        block: &[u8; BLOCK],
        from_pax: Option<Sparse>,
        map_in_data: bool,
    ) -> io::Result<Option<Sparse>> {
        let mut found = match from_pax {
            _ if block[156] == b'S' => self.gnu_sparse(block)?,
            Some(found) => found,
            None => return Ok(None),
        };
        if map_in_data {
            let mut reader = sparse::MapReader::default();
            found.map = loop {
                if self.remaining < BLOCK as u64 {
                    return Err(self.wrong("its sparse map is cut off"));
                }
                let block = self.block()?.ok_or_else(|| self.wrong("the archive ends within it"))?;
                self.remaining -= BLOCK as u64;
                if let Some(map) = reader.block(&block).map_err(|message| self.wrong(&message))? {
                    break map;
                }
            };
        }
        sparse::check(&found, self.remaining).map_err(|message| self.wrong(&message))?;
        Ok(Some(found))
    }

    /// Four pieces in the header, 21 in each block that follows it.
    fn gnu_sparse(&mut self, block: &[u8; BLOCK]) -> io::Result<Sparse> {
        let size =
            u64::try_from(self.number(&block[483..495], "size")?).map_err(|_| self.wrong("its size is malformed"))?;
        let mut found = Sparse { size, map: Vec::new() };
        let wrong = "its sparse map is malformed";
        sparse::from_fields(&block[386..482], &mut found.map).ok_or_else(|| self.wrong(wrong))?;
        let mut more = block[482] != 0;
        while more {
            let block = self.block()?.ok_or_else(|| self.wrong("the archive ends within it"))?;
            sparse::from_fields(&block[..504], &mut found.map).ok_or_else(|| self.wrong(wrong))?;
            if found.map.len() > sparse::PIECES {
                return Err(self.wrong("its sparse map is too long"));
            }
            more = block[504] != 0;
        }
        Ok(found)
    }

    /// Passes the current entry's data on in pieces. `path` is where it can be found again: then the record refers
    /// to it, otherwise the record keeps the data.
    pub(in crate::diff) fn data(
        &mut self,
        path: Option<&[u8]>,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let size = self.remaining;
        let refer = path.filter(|_| self.record.is_some() && size > 0);
        let mut crc = crc32fast::Hasher::new();
        while self.remaining > 0 {
            let chunk = self.input.fill_buf().map_err(|error| broken(&self.current, error))?;
            if chunk.is_empty() {
                return Err(self.wrong("the archive ends within it"));
            }
            let length = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(chunk.len());
            take(&chunk[..length])?;
            match (&mut self.record, refer) {
                (Some(_), Some(_)) => crc.update(&chunk[..length]),
                (Some(record), None) => record.raw(&chunk[..length])?,
                (None, _) => {}
            }
            self.input.consume(length);
            self.remaining -= length as u64;
        }
        if let (Some(record), Some(path)) = (&mut self.record, refer) {
            record.file(path, size, crc.finalize())?;
        }
        Ok(())
    }

    /// What is wrong with the current entry.
    pub(in crate::diff) fn wrong(&self, message: &str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("archive: {}: {message}", self.current))
    }

    /// Gives the record back for its end, or for what has to be kept of replaced files.
    pub(in crate::diff) fn record(&mut self) -> Option<&mut Record<'a>> {
        self.record.as_mut()
    }

    fn set_data(&mut self, size: u64) -> io::Result<()> {
        if size > i64::MAX as u64 - BLOCK as u64 {
            return Err(self.wrong("its size is malformed"));
        }
        self.remaining = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    fn skip_data(&mut self) -> io::Result<()> {
        self.data(None, |_| Ok(()))?;
        let mut padding = [0; BLOCK];
        let wanted = std::mem::take(&mut self.padding) as usize;
        let got = self.fill(&mut padding[..wanted])?;
        // The padding of the last entry may be missing, as GNU tar allows.
        self.keep(&padding[..got])
    }

    /// A header with a right checksum; `None` at the end, with the rest of the stream read.
    fn header(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block.iter().all(|&byte| byte == 0) {
            self.drain()?;
            return Ok(None);
        }
        let field = |index: usize, byte: u8| if (148..156).contains(&index) { b' ' } else { byte };
        let bytes = || block.iter().enumerate().map(|(index, &byte)| field(index, byte));
        let unsigned: i64 = bytes().map(i64::from).sum();
        // Old writers summed signed characters.
        let signed: i64 = bytes().map(|byte| i64::from(byte as i8)).sum();
        match number::parse(&block[148..156]) {
            Some(sum) if sum == unsigned || sum == signed => Ok(Some(block)),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "archive: the header after {} has a wrong checksum: no tar archive, or a damaged one",
                    self.current
                ),
            )),
        }
    }

    fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        match self.fill(&mut block)? {
            0 => Ok(None),
            BLOCK => {
                self.keep(&block)?;
                Ok(Some(block))
            }
            _ => Err(self.wrong("the archive ends within a header after it")),
        }
    }

    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > EXTENSION_MAX {
            return Err(self.wrong(&format!("its extended header is longer than {EXTENSION_MAX} bytes")));
        }
        self.set_data(size)?;
        let mut body = Vec::new();
        self.data(None, |chunk| {
            body.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(body)
    }

    fn drain(&mut self) -> io::Result<()> {
        loop {
            let chunk = self.input.fill_buf().map_err(|error| broken(&self.current, error))?;
            let length = chunk.len();
            if length == 0 {
                return Ok(());
            }
            if let Some(record) = &mut self.record {
                record.raw(chunk)?;
            }
            self.input.consume(length);
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&self.current, error)),
            }
        }
        Ok(filled)
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.record.as_mut().map_or(Ok(()), |record| record.raw(bytes))
    }

    fn number(&self, field: &[u8], what: &str) -> io::Result<i64> {
        number::parse(field).ok_or_else(|| self.wrong(&format!("its {what} is malformed")))
    }

    fn id(&self, from_pax: Option<u64>, field: &[u8], what: &str) -> io::Result<u32> {
        let wide = match from_pax {
            Some(wide) => i64::try_from(wide).unwrap_or(-1),
            None => self.number(field, what)?,
        };
        // 2^32 - 1 means "leave it" to the kernel.
        u32::try_from(wide)
            .ok()
            .filter(|&id| id != u32::MAX)
            .ok_or_else(|| self.wrong(&format!("its {what} {wide} is no user or group number")))
    }
}

/// What a decompressor says of its input is said of the archive; what the system says stays as it is.
fn broken(current: &str, error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(_) => error,
        None => io::Error::new(io::ErrorKind::InvalidData, format!("archive: {current}: {error}")),
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The name in the header itself: with a prefix in ustar, which GNU's own format uses for something else.
fn plain_name(block: &[u8; BLOCK]) -> Option<Vec<u8>> {
    let name = until_nul(&block[..100]);
    let prefix = match &block[257..263] {
        b"ustar\0" if &block[508..512] == b"tar\0" => until_nul(&block[345..476]),
        b"ustar\0" => until_nul(&block[345..500]),
        _ => b"",
    };
    if name.is_empty() && prefix.is_empty() {
        return None;
    }
    let mut whole = prefix.to_vec();
    if !prefix.is_empty() {
        whole.push(b'/');
    }
    whole.extend_from_slice(name);
    Some(whole)
}
