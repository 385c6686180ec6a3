//! `images` and what it costs to keep them.

use std::collections::{BTreeMap, HashMap};

use berth_store::rusqlite::{self, Connection};

use super::{DiskUsage, Filter, Image, ImageUsage, LayerUsage, Summary, digests, find, pattern, record};
use crate::layers::{chain, layer_id};
use crate::{ImageId, ImageStore, Reference, Result};

impl ImageStore {
    /// The newest first.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Summary>> {
        self.store.read(|connection| Ok(chosen(connection, filter)?.into_iter().map(|(_, summary)| summary).collect()))
    }

    pub fn disk_usage(&self) -> Result<DiskUsage> {
        self.store.read(|connection| {
            let images = chosen(connection, &Filter { all: true, ..Filter::default() })?;
            let mut users: HashMap<i64, (u64, usize)> = HashMap::new();
            let mut chains = Vec::with_capacity(images.len());
            for (image, _) in &images {
                let layers = chain(connection, image.layer)?;
                for layer in &layers {
                    users.entry(layer.number).or_insert((layer.size, 0)).1 += 1;
                }
                chains.push(layers);
            }
            let usage = |((_, summary), layers): ((Image, Summary), Vec<crate::layers::Layer>)| {
                let shared = layers.iter().filter(|layer| users[&layer.number].1 > 1).map(|layer| layer.size).sum();
                ImageUsage { unique: summary.size - shared, shared, summary }
            };
            Ok(DiskUsage {
                layers: users.values().map(|(size, _)| size).sum(),
                images: images.into_iter().zip(chains).map(usage).collect(),
            })
        })
    }

    /// What each layer takes on the disk: slower than [`ImageStore::disk_usage`], as drivers have to look.
    pub fn layer_usage(&self) -> Result<Vec<LayerUsage>> {
        struct Row {
            number: i64,
            diff_id: Option<String>,
            content: u64,
        }
        let (rows, images, containers) = self.store.read(|connection| {
            let mut statement =
                connection.prepare("SELECT number, diff_id, size FROM layers WHERE state = 'valid' ORDER BY number")?;
            let row = |row: &rusqlite::Row<'_>| {
                Ok(Row { number: row.get(0)?, diff_id: row.get(1)?, content: row.get::<_, i64>(2)? as u64 })
            };
            let rows: Vec<Row> = statement.query_map([], row)?.collect::<Result<_, _>>()?;
            let users = |tops: &str| -> Result<HashMap<i64, usize>> {
                let mut statement = connection.prepare(tops)?;
                let tops: Vec<i64> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
                let mut users = HashMap::new();
                for top in tops {
                    for layer in chain(connection, Some(top))? {
                        *users.entry(layer.number).or_default() += 1;
                    }
                }
                Ok(users)
            };
            let images = users("SELECT layer FROM images WHERE layer IS NOT NULL")?;
            let containers = users("SELECT number FROM layers WHERE state = 'valid' AND diff_id IS NULL")?;
            Ok::<_, crate::Error>((rows, images, containers))
        })?;
        let mut usage = Vec::with_capacity(rows.len());
        for Row { number, diff_id, content } in rows {
            let id = layer_id(number)?;
            let on_disk = match self.driver.usage(&id) {
                Ok(usage) => usage,
                // It was removed meanwhile.
                Err(berth_fs_drivers::Error::NotFound(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            let of = |users: &HashMap<i64, usize>| users.get(&number).copied().unwrap_or_default();
            usage.push(LayerUsage {
                id,
                diff_id: diff_id.and_then(|text| text.parse().ok()),
                content,
                on_disk,
                images: of(&images),
                containers: of(&containers),
            });
        }
        Ok(usage)
    }
}

/// The images that `filter` lets through, the newest first.
pub(super) fn chosen(connection: &Connection, filter: &Filter) -> Result<Vec<(Image, Summary)>> {
    let made = |name: &Option<String>| {
        name.as_deref().map(|name| Ok::<_, crate::Error>(find(connection, name)?.made())).transpose()
    };
    let (before, since) = (made(&filter.before)?, made(&filter.since)?);
    let mut names = all_tags(connection)?;
    let mut all_digests = digests::all_digests(connection)?;
    let images = record::all(connection)?;
    let parents: std::collections::HashSet<ImageId> = images.iter().filter_map(|image| image.parent.clone()).collect();
    let mut list = Vec::with_capacity(images.len());
    for image in images {
        let mut tags = names.remove(&image.id).unwrap_or_default();
        let mut digests = all_digests.remove(&image.id).unwrap_or_default();
        let time = image.made();
        let nameless = tags.is_empty() && digests.is_empty();
        let inner = nameless && parents.contains(&image.id);
        let dangling = nameless && !inner;
        if filter.dangling.is_some_and(|wanted| wanted != dangling)
            || (inner && !filter.all)
            || before.is_some_and(|before| time >= before)
            || since.is_some_and(|since| time <= since)
            || filter.until.is_some_and(|until| time >= until)
        {
            continue;
        }
        let labels = image.config.config.labels.clone().unwrap_or_default();
        if !filter.labels.iter().all(|label| has_label(&labels, label))
            || filter.without_labels.iter().any(|label| has_label(&labels, label))
        {
            continue;
        }
        if !filter.references.is_empty() {
            for names in [&mut tags, &mut digests] {
                let mut kept = Vec::new();
                for name in names.drain(..) {
                    if matches_any(&filter.references, &name)? {
                        kept.push(name);
                    }
                }
                *names = kept;
            }
            if tags.is_empty() && digests.is_empty() {
                continue;
            }
        }
        let summary = Summary {
            id: image.id.clone(),
            parent: image.parent.clone(),
            tags,
            digests,
            created: time.div_euclid(1_000_000_000),
            size: image.size,
            labels,
        };
        list.push((time, image, summary));
    }
    list.sort_by(|(a, one, _), (b, other, _)| b.cmp(a).then_with(|| one.id.cmp(&other.id)));
    Ok(list.into_iter().map(|(_, image, summary)| (image, summary)).collect())
}

impl Image {
    /// When the image was made as its configuration says, else when it came; nanoseconds after the epoch.
    pub fn made(&self) -> i64 {
        let stated = self.config.created.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        stated.and_then(|time| i64::try_from(time.as_nanosecond()).ok()).unwrap_or(self.created)
    }
}

fn all_tags(connection: &Connection) -> Result<HashMap<ImageId, Vec<Reference>>> {
    let mut statement =
        connection.prepare_cached("SELECT image, repository, tag FROM tags ORDER BY repository, tag")?;
    let mut rows = statement.query([])?;
    let mut tags: HashMap<ImageId, Vec<Reference>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let reference = Reference::from_parts(&row.get::<_, String>(1)?, &row.get::<_, String>(2)?);
        tags.entry(row.get::<_, String>(0)?.parse()?).or_default().push(reference);
    }
    Ok(tags)
}

/// `key` or `key=value`.
fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    }
}

/// A pattern is for the whole name or for the name without its tag.
fn matches_any(patterns: &[String], reference: &Reference) -> Result<bool> {
    for pattern in patterns {
        if pattern::matches(pattern, &reference.familiar())? || pattern::matches(pattern, &reference.familiar_name())? {
            return Ok(true);
        }
    }
    Ok(false)
}
