//! Compressed streams, recognised by their first bytes.

use std::io::{self, BufRead, BufReader, Cursor, Read};

/// Enough for every level of xz(1); a stream that asks for more is refused.
const XZ_MEMORY: u64 = 256 << 20;
/// Bytes of a read of the underlying stream.
const BUFFER: usize = 64 * 1024;
const MAGIC: usize = 6;

/// `stream` without its compression: gzip, bzip2, xz, zstd, or as it is.
pub fn decompress<'a>(stream: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let (start, whole) = look(stream)?;
    Ok(match &start[..] {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(buffered(whole))),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(buffered(whole))),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            let decoder = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(buffered(whole), decoder))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(zstd::Decoder::with_buffer(buffered(whole))?)
        }
        _ => Box::new(whole),
    })
}

/// The largest window that a zstd stream of a layer may ask for, as a power of 2: 32 MiB, what level 20 of zstd(1) takes.
const ZSTD_WINDOW: u32 = 25;

/// As [`decompress`] for what layers in registries are packed by: gzip, zstd or nothing. By the first bytes, as some say what
/// is not so. Takes little memory whatever the stream says.
pub fn decompress_layer<'a>(stream: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let (start, whole) = look(stream)?;
    Ok(match &start[..] {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(buffered(whole))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let mut decoder = zstd::Decoder::with_buffer(buffered(whole))?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
        [b'B', b'Z', b'h', b'1'..=b'9', ..] | [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            let message = "it is packed by bzip2 or xz, where gzip and zstd are possible";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        _ => Box::new(whole),
    })
}

/// The first bytes, and the whole stream.
fn look<'a>(mut stream: impl Read + 'a) -> io::Result<(Vec<u8>, impl Read + 'a)> {
    let mut magic = [0; MAGIC];
    let mut known = 0;
    while known < MAGIC {
        match stream.read(&mut magic[known..]) {
            Ok(0) => break,
            Ok(count) => known += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let start = magic[..known].to_vec();
    Ok((start.clone(), Cursor::new(start).chain(stream)))
}

fn buffered(stream: impl Read) -> impl BufRead {
    BufReader::with_capacity(BUFFER, stream)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompress(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn compressed() -> Vec<(&'static str, Vec<u8>)> {
        let text = b"the same text ".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&text).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&text).unwrap();
        vec![
            ("gzip", gzip.finish().unwrap()),
            ("bzip2", bzip2.finish().unwrap()),
            ("xz", xz.finish().unwrap()),
            ("zstd", zstd::encode_all(&text[..], 1).unwrap()),
        ]
    }

    #[test]
    fn each_format_is_recognised_and_may_be_concatenated() {
        let text = b"the same text ".repeat(1000);
        assert_eq!(read(&text).unwrap(), text);
        assert_eq!(read(b"").unwrap(), b"");
        for (name, bytes) in compressed() {
            assert_eq!(read(&bytes).unwrap(), text, "{name}");
            assert_eq!(read(&[&bytes[..], &bytes[..]].concat()).unwrap().len(), 2 * text.len(), "{name}");
        }
    }

    #[test]
    fn a_truncated_stream_is_an_error() {
        for (name, bytes) in compressed() {
            assert!(read(&bytes[..bytes.len() - 5]).is_err(), "{name}");
        }
    }
}
