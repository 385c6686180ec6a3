//! The rows of images and tags.

use std::time::{SystemTime, UNIX_EPOCH};

use berth_store::rusqlite::{Connection, OptionalExtension, Row, Transaction};

use super::Image;
use crate::{Digest, Error, ImageId, Reference, Result};

/// What an image's row is made of.
pub(crate) struct NewImage<'a> {
    /// The exact bytes.
    pub(crate) config: &'a [u8],
    pub(crate) layer: Option<i64>,
    pub(crate) size: u64,
    pub(crate) parent: Option<&'a ImageId>,
}

/// Nanoseconds after the epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Records an image; one that is there stays as it is.
pub(crate) fn insert(transaction: &Transaction<'_>, image: &NewImage<'_>) -> Result<ImageId> {
    let id = Digest::of(image.config);
    transaction.execute(
        "INSERT INTO images (id, layer, config, parent, created, size) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO NOTHING",
        (id.as_str(), image.layer, image.config, image.parent.map(Digest::as_str), now(), image.size as i64),
    )?;
    Ok(id)
}

/// Gives `id` the name `reference`, taking it from the image that had it. A name without tag gets `latest`; one
/// with a digest only names nothing here.
pub(crate) fn set_tag(transaction: &Transaction<'_>, reference: &Reference, id: &ImageId) -> Result<()> {
    let reference = reference.clone().with_default_tag();
    let Some(tag) = reference.tag() else {
        return Err(Error::InvalidArgument("refusing to create a tag with a digest reference".to_owned()));
    };
    transaction.execute(
        "INSERT INTO tags (repository, tag, image, tagged) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET image = excluded.image, tagged = excluded.tagged",
        (reference.repository(), tag, id.as_str(), now()),
    )?;
    Ok(())
}

/// The names of an image, sorted.
pub(crate) fn tags_of(connection: &Connection, id: &ImageId) -> Result<Vec<Reference>> {
    let mut statement =
        connection.prepare_cached("SELECT repository, tag FROM tags WHERE image = ?1 ORDER BY repository, tag")?;
    let rows = statement.query_map([id.as_str()], |row| {
        Ok(Reference::from_parts(&row.get::<_, String>(0)?, &row.get::<_, String>(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) const COLUMNS: &str = "id, layer, config, parent, created, size";

/// The image of a row of [`COLUMNS`].
pub(super) fn image(row: &Row<'_>) -> Result<Image> {
    let id: String = row.get(0)?;
    let config: Vec<u8> = row.get(2)?;
    Ok(Image {
        layer: row.get(1)?,
        config: serde_json::from_slice(&config).map_err(|source| Error::Stream {
            action: "decode",
            object: format!("the configuration of image {id}"),
            source: source.into(),
        })?,
        parent: row.get::<_, Option<String>>(3)?.map(|text| text.parse()).transpose()?,
        created: row.get(4)?,
        size: row.get::<_, i64>(5)? as u64,
        id: id.parse()?,
    })
}

pub(super) fn get(connection: &Connection, id: &ImageId) -> Result<Option<Image>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM images WHERE id = ?1"))?
        .query_row([id.as_str()], |row| Ok(image(row)))
        .optional()?
        .transpose()
}

/// The exact bytes of an image's configuration.
pub(crate) fn raw_config(connection: &Connection, id: &ImageId) -> Result<Vec<u8>> {
    Ok(connection.query_row("SELECT config FROM images WHERE id = ?1", [id.as_str()], |row| row.get(0))?)
}

/// The names and images of a repository.
pub(crate) fn tagged(connection: &Connection, repository: &Reference) -> Result<Vec<(Reference, Image)>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS}, tag FROM tags JOIN images ON id = image WHERE repository = ?1 ORDER BY tag"
    ))?;
    let mut rows = statement.query([repository.repository()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((repository.with_tag(&row.get::<_, String>("tag")?)?, image(row)?));
    }
    Ok(found)
}

/// All images, in no order.
pub(super) fn all(connection: &Connection) -> Result<Vec<Image>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM images"))?;
    let mut rows = statement.query([])?;
    let mut images = Vec::new();
    while let Some(row) = rows.next()? {
        images.push(image(row)?);
    }
    Ok(images)
}

/// Whether other images were committed on this one.
pub(super) fn has_children(connection: &Connection, id: &ImageId) -> Result<bool> {
    Ok(connection.prepare_cached("SELECT 1 FROM images WHERE parent = ?1")?.exists([id.as_str()])?)
}
