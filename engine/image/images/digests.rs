//! The rows of names by digest (`repository@sha256:...`) and of registries' forms of layers.

use std::collections::HashMap;

use berth_store::rusqlite::{Connection, OptionalExtension, Transaction};

use super::record::now;
use crate::formats::Descriptor;
use crate::{Digest, ImageId, Reference, Result};

/// Notes that the repository of `name` has `id` under `digest`.
pub(crate) fn set_digest(transaction: &Transaction<'_>, name: &Reference, digest: &Digest, id: &ImageId) -> Result<()> {
    transaction.execute(
        "INSERT INTO digests (repository, digest, image) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET image = excluded.image",
        (name.repository(), digest.as_str(), id.as_str()),
    )?;
    Ok(())
}

/// The names of an image by digest, sorted.
pub(crate) fn digests_of(connection: &Connection, id: &ImageId) -> Result<Vec<Reference>> {
    let mut statement = connection
        .prepare_cached("SELECT repository, digest FROM digests WHERE image = ?1 ORDER BY repository, digest")?;
    let rows: Vec<(String, String)> =
        statement.query_map([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    rows.iter().map(|(repository, digest)| Ok(Reference::of_digest(repository, digest.parse()?))).collect()
}

/// As [`digests_of`], of all images.
pub(super) fn all_digests(connection: &Connection) -> Result<HashMap<ImageId, Vec<Reference>>> {
    let mut statement =
        connection.prepare_cached("SELECT image, repository, digest FROM digests ORDER BY repository, digest")?;
    let mut rows = statement.query([])?;
    let mut digests: HashMap<ImageId, Vec<Reference>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let reference = Reference::of_digest(&row.get::<_, String>(1)?, row.get::<_, String>(2)?.parse()?);
        digests.entry(row.get::<_, String>(0)?.parse()?).or_default().push(reference);
    }
    Ok(digests)
}

pub(super) fn by_digest(connection: &Connection, repository: &str, digest: &Digest) -> Result<Option<ImageId>> {
    let found: Option<String> = connection
        .prepare_cached("SELECT image FROM digests WHERE repository = ?1 AND digest = ?2")?
        .query_row((repository, digest.as_str()), |row| row.get(0))
        .optional()?;
    found.map(|id| id.parse()).transpose()
}

/// Takes the name `repository@digest` away.
pub(super) fn remove_digest(transaction: &Transaction<'_>, repository: &str, digest: &Digest) -> Result<()> {
    transaction.execute("DELETE FROM digests WHERE repository = ?1 AND digest = ?2", (repository, digest.as_str()))?;
    Ok(())
}

/// Notes in which form a repository has the archive of `diff_id`.
pub(crate) fn note_blob(
    transaction: &Transaction<'_>,
    diff_id: &Digest,
    repository: &str,
    blob: &Descriptor,
) -> Result<()> {
    transaction.prepare_cached("INSERT OR REPLACE INTO blobs VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute((
        diff_id.as_str(),
        repository,
        blob.digest.as_str(),
        blob.size as i64,
        &blob.media_type,
        now(),
    ))?;
    Ok(())
}
