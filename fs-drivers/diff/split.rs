//! What has to be kept of an archive so that it can be written again, byte for byte, from the unpacked files.
//!
//! A record is a magic line and items: 1 = bytes as they are (length, bytes), 2 = the data of a file (path, size,
//! CRC-32), 3 = data that 2 refers to and that a later entry of the same archive replaced (size, CRC-32, bytes),
//! 0 = the end (length of the archive). Lengths are LEB128, CRC-32 four bytes, little endian. It is not compressed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use berth_arch::root_dir::RootDir;

use crate::error::At;
use crate::{Error, Result, tree};

const MAGIC: &[u8] = b"berth tar record 1\n";
const END: u8 = 0;
const RAW: u8 = 1;
const FILE: u8 = 2;
const REPLACED: u8 = 3;
const BUFFER: usize = 64 << 10;

/// Writes a record.
pub(super) struct Record<'a> {
    out: BufWriter<&'a mut dyn Write>,
    raw: Vec<u8>,
    /// Of the archive.
    length: u64,
}

impl<'a> Record<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(BUFFER, out);
        out.write_all(MAGIC)?;
        Ok(Self { out, raw: Vec::with_capacity(BUFFER), length: 0 })
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        if self.raw.len() + bytes.len() > BUFFER {
            self.flush_raw()?;
        }
        if bytes.len() > BUFFER {
            return self.write_raw(bytes);
        }
        self.raw.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn file(&mut self, path: &[u8], size: u64, crc: u32) -> io::Result<()> {
        self.flush_raw()?;
        self.length += size;
        self.out.write_all(&[FILE])?;
        write_number(&mut self.out, path.len() as u64)?;
        self.out.write_all(path)?;
        write_number(&mut self.out, size)?;
        self.out.write_all(&crc.to_le_bytes())
    }

    /// Keeps the data of a file that is about to be replaced.
    pub(super) fn replaced(&mut self, file: &mut std::fs::File, size: u64) -> io::Result<()> {
        use std::io::{Seek, SeekFrom};
        let mut crc = crc32fast::Hasher::new();
        let mut buffer = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(BUFFER)];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => crc.update(&buffer[..read]),
            }
        }
        file.seek(SeekFrom::Start(0))?;
        self.flush_raw()?;
        self.out.write_all(&[REPLACED])?;
        write_number(&mut self.out, size)?;
        self.out.write_all(&crc.finalize().to_le_bytes())?;
        match io::copy(&mut file.take(size), &mut self.out)? {
            copied if copied == size => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.flush_raw()?;
        self.out.write_all(&[END])?;
        write_number(&mut self.out, self.length)?;
        self.out.flush()
    }

    fn flush_raw(&mut self) -> io::Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let raw = std::mem::take(&mut self.raw);
        self.write_raw(&raw)?;
        self.raw = raw;
        self.raw.clear();
        Ok(())
    }

    fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(&[RAW])?;
        write_number(&mut self.out, bytes.len() as u64)?;
        self.out.write_all(bytes)
    }
}

/// Writes the archive that a record was made of. `record` opens the record anew each time it is called (it is read
/// twice: what later entries replaced stands behind its use). `root` is the merged tree of the layer and what is
/// below it. Fails if a file is not what it was; then what `out` got is worthless.
pub fn assemble<R: Read>(
    mut record: impl FnMut() -> io::Result<R>,
    root: &RootDir,
    out: &mut dyn Write,
) -> Result<u64> {
    let mut open = || Items::open(record().at("open", "the record of the layer's archive")?);
    let replaced = find_replaced(&mut open()?)?;
    let mut out = BufWriter::with_capacity(BUFFER * 2, out);
    let mut items = open()?;
    let mut length = 0;
    loop {
        match items.next()? {
            Item::Raw(size) => {
                items.copy(size, &mut out)?;
                length += size;
            }
            Item::File { path, size, crc } => {
                match replaced.get(&(size, crc)) {
                    Some(&position) => {
                        let mut other = open()?;
                        other.skip_to(position)?;
                        other.copy(size, &mut out)?;
                    }
                    None => copy_file(root, &path, size, crc, &mut out)?,
                }
                length += size;
            }
            Item::Replaced { size, .. } => items.copy(size, &mut io::sink())?,
            Item::End(expected) if expected == length => break,
            Item::End(_) => return Err(damaged()),
        }
    }
    out.flush().at("write", "the layer's archive")?;
    Ok(length)
}

fn find_replaced<R: Read>(items: &mut Items<R>) -> Result<HashMap<(u64, u32), u64>> {
    let mut found = HashMap::new();
    loop {
        match items.next()? {
            Item::Raw(size) => items.copy(size, &mut io::sink())?,
            Item::File { .. } => {}
            Item::Replaced { size, crc } => {
                found.insert((size, crc), items.position);
                items.copy(size, &mut io::sink())?;
            }
            Item::End(_) => return Ok(found),
        }
    }
}

fn copy_file(root: &RootDir, path: &Path, size: u64, crc: u32, out: &mut impl Write) -> Result<()> {
    let changed = || Error::Io {
        action: "write the layer's archive again",
        path: path.to_path_buf(),
        source: io::Error::new(io::ErrorKind::InvalidData, "the file is not what it was when the layer was unpacked"),
    };
    let open = || -> io::Result<_> {
        let parent = root.parent(path)?;
        tree::open_file(&parent.directory, &parent.name)
    };
    let mut file = std::fs::File::from(open().at("open", path)?);
    if file.metadata().at("look at", path)?.len() != size {
        return Err(changed());
    }
    let mut sum = crc32fast::Hasher::new();
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(BUFFER)];
    let mut left = size;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = file.read(&mut buffer[..wanted]).at("read", path)?;
        if read == 0 {
            return Err(changed());
        }
        sum.update(&buffer[..read]);
        out.write_all(&buffer[..read]).at("write", "the layer's archive")?;
        left -= read as u64;
    }
    if sum.finalize() == crc { Ok(()) } else { Err(changed()) }
}

enum Item {
    /// That many bytes follow.
    Raw(u64),
    File {
        path: PathBuf,
        size: u64,
        crc: u32,
    },
    /// That many bytes follow.
    Replaced {
        size: u64,
        crc: u32,
    },
    End(u64),
}

struct Items<R> {
    input: BufReader<R>,
    position: u64,
}

impl<R: Read> Items<R> {
    fn open(input: R) -> Result<Self> {
        let mut items = Self { input: BufReader::with_capacity(BUFFER, input), position: 0 };
        if items.bytes(MAGIC.len() as u64)? != MAGIC {
            return Err(damaged());
        }
        Ok(items)
    }

    fn next(&mut self) -> Result<Item> {
        let tag = self.byte()?;
        Ok(match tag {
            RAW => Item::Raw(self.number()?),
            FILE => {
                let length = self.number()?;
                if length > 1 << 16 {
                    return Err(damaged());
                }
                let path = PathBuf::from(OsStr::from_bytes(&self.bytes(length)?));
                Item::File { path, size: self.number()?, crc: self.crc()? }
            }
            REPLACED => Item::Replaced { size: self.number()?, crc: self.crc()? },
            END => Item::End(self.number()?),
            _ => return Err(damaged()),
        })
    }

    fn copy(&mut self, size: u64, out: &mut impl Write) -> Result<()> {
        let copied = io::copy(&mut (&mut self.input).take(size), out).at("copy", "the layer's archive")?;
        self.position += copied;
        if copied == size { Ok(()) } else { Err(damaged()) }
    }

    fn skip_to(&mut self, position: u64) -> Result<()> {
        self.copy(position - self.position, &mut io::sink())
    }

    fn bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.copy(length, &mut bytes)?;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte).map_err(|_| damaged())?;
        self.position += 1;
        Ok(byte[0])
    }

    fn number(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged())
    }

    fn crc(&mut self) -> Result<u32> {
        let bytes = self.bytes(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}

fn write_number(out: &mut impl Write, mut value: u64) -> io::Result<()> {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return out.write_all(&[byte]);
        }
        out.write_all(&[byte | 0x80])?;
    }
}

fn damaged() -> Error {
    Error::InvalidArgument("record of a layer's archive: it is damaged or cut off".to_owned())
}
