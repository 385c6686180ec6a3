//! Questions about the rows of layers.

use berth_fs_drivers::LayerId;
use berth_store::rusqlite::{Connection, OptionalExtension, Row};

use crate::{Digest, Error, Result};

/// A row of an image's layer.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) number: i64,
    pub(crate) diff_id: Option<Digest>,
    /// Bytes of file content.
    pub(crate) size: u64,
    /// Bytes of its uncompressed archive.
    pub(crate) archive: u64,
}

impl Layer {
    /// For messages.
    pub(crate) fn name(&self) -> &str {
        self.diff_id.as_ref().map_or("without digest", Digest::short)
    }
}

/// The driver's name of layer `number`: base 36.
pub(crate) fn layer_id(number: i64) -> Result<LayerId> {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut rest =
        u64::try_from(number).map_err(|_| Error::InvalidArgument(format!("invalid layer number {number}")))?;
    let mut text = Vec::with_capacity(13);
    loop {
        text.push(DIGITS[(rest % 36) as usize]);
        rest /= 36;
        if rest == 0 {
            break;
        }
    }
    text.reverse();
    Ok(String::from_utf8_lossy(&text).parse()?)
}

pub(super) const LOCK_PREFIX: &str = "layer-";

/// The lock of an unsettled layer.
pub(crate) fn lock_name(number: i64) -> String {
    format!("{LOCK_PREFIX}{number}")
}

/// The layers from `top` down to the lowest.
pub(crate) fn chain(connection: &Connection, top: Option<i64>) -> Result<Vec<Layer>> {
    let mut statement = connection.prepare_cached(
        "WITH RECURSIVE chain (number, depth) AS (
             VALUES (?1, 0) UNION ALL
             SELECT layers.parent, depth + 1 FROM chain JOIN layers USING (number) WHERE layers.parent IS NOT NULL
         )
         SELECT number, diff_id, size, archive FROM chain JOIN layers USING (number) ORDER BY depth",
    )?;
    let rows = statement.query_map([top], layer)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The driver's names of the layers from `top` down.
pub(super) fn chain_ids(connection: &Connection, top: Option<i64>) -> Result<Vec<LayerId>> {
    chain(connection, top)?.iter().map(|layer| layer_id(layer.number)).collect()
}

fn layer(row: &Row<'_>) -> Result<Layer, berth_store::rusqlite::Error> {
    Ok(Layer {
        number: row.get(0)?,
        diff_id: row.get::<_, Option<String>>(1)?.and_then(|text| text.parse().ok()),
        size: row.get::<_, i64>(2)? as u64,
        archive: row.get::<_, i64>(3)? as u64,
    })
}

/// Who has the chain `chain_id`.
pub(super) enum Owner {
    Valid(i64),
    /// Somebody is making it, or was.
    Open(i64),
    Nobody,
}

pub(super) fn owner(connection: &Connection, chain_id: &Digest) -> Result<Owner> {
    let found = connection
        .prepare_cached("SELECT number, state = 'valid' FROM layers WHERE chain_id = ?1")?
        .query_row([chain_id.as_str()], |row| Ok((row.get(0)?, row.get::<_, bool>(1)?)))
        .optional()?;
    Ok(match found {
        Some((number, true)) => Owner::Valid(number),
        Some((number, false)) => Owner::Open(number),
        None => Owner::Nobody,
    })
}

/// Marks `start` and the image layers below it that nothing needs as going. Returns their numbers, topmost first.
pub(crate) fn release_unneeded(connection: &Connection, start: Option<i64>) -> Result<Vec<(i64, Option<Digest>)>> {
    let mut released = Vec::new();
    let mut next = start;
    let mut above = None;
    while let Some(number) = next {
        let freed: Option<(Option<i64>, Option<String>)> = connection
            .prepare_cached(
                "SELECT parent, chain_id FROM layers WHERE number = ?1 AND state = 'valid' AND chain_id IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM layers AS child WHERE child.parent = ?1 AND child.number IS NOT ?2)
                 AND kept IS NULL AND NOT EXISTS (SELECT 1 FROM images WHERE layer = ?1)",
            )?
            .query_row((number, above), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((parent, chain_id)) = freed else { break };
        connection
            .prepare_cached("UPDATE layers SET state = 'removing', chain_id = NULL WHERE number = ?1")?
            .execute([number])?;
        released.push((number, chain_id.and_then(|text| text.parse().ok())));
        (above, next) = (Some(number), parent);
    }
    Ok(released)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_names_are_short_and_distinct() {
        assert_eq!(layer_id(0).unwrap().as_str(), "0");
        assert_eq!(layer_id(35).unwrap().as_str(), "z");
        assert_eq!(layer_id(36).unwrap().as_str(), "10");
        assert_eq!(layer_id(i64::MAX).unwrap().as_str(), "1y2p0ij32e8e7");
        assert!(layer_id(-1).is_err());
    }
}
