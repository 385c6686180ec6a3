//! From what people write to an image.

use berth_store::rusqlite::{Connection, OptionalExtension};

use super::{Image, digests, record};
use crate::reference::id_prefix;
use crate::{Error, ImageId, ImageStore, Reference, Result};

impl ImageStore {
    /// The image that `name` means: a name (`latest` where no tag is given), an ID or an unambiguous beginning of
    /// one.
    pub fn resolve(&self, name: &str) -> Result<Image> {
        self.store.read(|connection| find(connection, name))
    }

    pub fn get(&self, id: &ImageId) -> Result<Image> {
        self.store.read(|connection| get(connection, id))
    }

    /// The image that `name` means as a name, not as an ID.
    pub fn resolve_reference(&self, reference: &Reference) -> Result<Option<Image>> {
        self.store.read(|connection| by_reference(connection, reference))
    }

    /// Gives the image `source` the name `target`, taking it from the image that had it.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<Image> {
        self.store.write(|transaction| {
            let image = find(transaction, source)?;
            record::set_tag(transaction, target, &image.id)?;
            Ok(image)
        })
    }
}

pub(super) fn get(connection: &Connection, id: &ImageId) -> Result<Image> {
    record::get(connection, id)?.ok_or_else(|| Error::NotFound(format!("No such image: {id}")))
}

/// See [`ImageStore::resolve`].
pub(crate) fn find(connection: &Connection, name: &str) -> Result<Image> {
    let missing = |name: &str| Error::NotFound(format!("No such image: {name}"));
    let prefix = id_prefix(name);
    if let Some(digits) = prefix.filter(|digits| digits.len() == 64) {
        let id: ImageId = format!("sha256:{digits}").parse()?;
        return record::get(connection, &id)?.ok_or_else(|| missing(name));
    }
    let reference = match name.parse::<Reference>() {
        Ok(reference) => Some(reference.with_default_tag()),
        Err(_) if prefix.is_some() => None,
        Err(error) => return Err(error),
    };
    if let Some(reference) = &reference
        && let Some(image) = by_reference(connection, reference)?
    {
        return Ok(image);
    }
    if let Some(digits) = prefix
        && let Some(id) = by_prefix(connection, digits)?
    {
        return get(connection, &id);
    }
    Err(missing(&reference.map_or_else(|| name.to_owned(), |reference| reference.familiar())))
}

fn by_reference(connection: &Connection, reference: &Reference) -> Result<Option<Image>> {
    // What a registry calls it by comes before a tag, which may mean something else by now.
    if let Some(digest) = reference.digest()
        && let Some(id) = digests::by_digest(connection, &reference.repository(), digest)?
    {
        return record::get(connection, &id);
    }
    let id: Option<String> = connection
        .prepare_cached("SELECT image FROM tags WHERE repository = ?1 AND tag = ?2")?
        .query_row((reference.repository(), reference.tag()), |row| row.get(0))
        .optional()?;
    let Some(id) = id else { return Ok(None) };
    // A digest beside the tag has to be that of the image.
    let id: ImageId = id.parse()?;
    if reference.digest().is_some_and(|digest| *digest != id) {
        return Ok(None);
    }
    record::get(connection, &id)
}

fn by_prefix(connection: &Connection, digits: &str) -> Result<Option<ImageId>> {
    let mut statement = connection.prepare_cached("SELECT id FROM images WHERE id >= ?1 AND id < ?2 LIMIT 2")?;
    // `g` follows the last hexadecimal digit.
    let (low, high) = (format!("sha256:{digits}"), format!("sha256:{digits}g"));
    let found: Vec<String> = statement.query_map([low, high], |row| row.get(0))?.collect::<Result<_, _>>()?;
    match &found[..] {
        [] => Ok(None),
        [only] => Ok(Some(only.parse()?)),
        _ => Err(Error::InvalidArgument(format!("the image ID {digits} is ambiguous; give more of it"))),
    }
}
