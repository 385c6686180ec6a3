//! The maps of sparse files: in GNU's old headers, in PAX records, or before the data (format 1.0).

use super::{BLOCK, Sparse, number};

/// More pieces than this are taken for an attack.
pub(super) const PIECES: usize = 1 << 20;

/// Reads `count` map entries of a GNU header (24 bytes each) until an empty one.
pub(super) fn from_fields(fields: &[u8], map: &mut Vec<(u64, u64)>) -> Option<()> {
    for entry in fields.chunks_exact(24) {
        if entry[0] == 0 {
            break;
        }
        let offset = u64::try_from(number::parse(&entry[..12])?).ok()?;
        let length = u64::try_from(number::parse(&entry[12..])?).ok()?;
        map.push((offset, length));
    }
    Some(())
}

/// Whether the pieces are in order, within the file, and as long as the data.
pub(super) fn check(sparse: &Sparse, data: u64) -> Result<(), String> {
    let mut end = 0_u64;
    let mut sum = 0_u64;
    for &(offset, length) in &sparse.map {
        let next = offset.checked_add(length).filter(|&next| offset >= end && next <= sparse.size);
        end = next.ok_or("its sparse map is out of order or goes past its end")?;
        sum += length;
    }
    if sum != data {
        return Err(format!("its sparse map has {sum} bytes and its data {data}"));
    }
    Ok(())
}

/// The map of format 1.0, read number by number from the blocks before the data.
#[derive(Debug, Default)]
pub(super) struct MapReader {
    count: Option<usize>,
    numbers: Vec<u64>,
    current: Option<u64>,
}

impl MapReader {
    /// Takes one block. `Some(map)` when it was the last.
    pub(super) fn block(&mut self, block: &[u8; BLOCK]) -> Result<Option<Vec<(u64, u64)>>, String> {
        const WRONG: &str = "its sparse map is malformed";
        for &byte in block {
            match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    let value = self.current.unwrap_or(0).checked_mul(10).and_then(|v| v.checked_add(digit));
                    self.current = Some(value.ok_or(WRONG)?);
                }
                b'\n' => {
                    let value = self.current.take().ok_or(WRONG)?;
                    match self.count {
                        None if value > PIECES as u64 => return Err("its sparse map is too long".to_owned()),
                        None => self.count = Some(value as usize),
                        Some(_) => self.numbers.push(value),
                    }
                    if self.count.is_some_and(|count| self.numbers.len() == count * 2) {
                        return Ok(Some(self.numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()));
                    }
                }
                _ => return Err(WRONG.to_owned()),
            }
        }
        Ok(None)
    }
}

/// The map of format 1.0 as it stands before the data, padded to whole blocks.
pub(super) fn write_map(map: &[(u64, u64)]) -> Vec<u8> {
    let mut text = format!("{}\n", map.len());
    for (offset, length) in map {
        text.push_str(&format!("{offset}\n{length}\n"));
    }
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_map_is_read_back() {
        let map: Vec<_> = (0..200).map(|n| (n * 1_000_000, 4096)).collect();
        let bytes = write_map(&map);
        let mut reader = MapReader::default();
        let mut found = None;
        for block in bytes.chunks_exact(BLOCK) {
            assert!(found.is_none());
            found = reader.block(block.try_into().unwrap()).unwrap();
        }
        assert_eq!(found, Some(map));
    }

    #[test]
    fn overlapping_and_overlong_maps_are_refused() {
        let sparse = |map: &[(u64, u64)]| Sparse { size: 100, map: map.to_vec() };
        assert!(check(&sparse(&[(0, 10), (50, 50)]), 60).is_ok());
        assert!(check(&sparse(&[(0, 10), (5, 10)]), 20).is_err());
        assert!(check(&sparse(&[(90, 11)]), 11).is_err());
        assert!(check(&sparse(&[(u64::MAX, 2)]), 2).is_err());
        assert!(check(&sparse(&[(0, 10)]), 11).is_err());
    }
}
