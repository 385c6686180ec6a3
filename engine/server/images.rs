//! `/images` and `/commit`.

use berth_api::Filters;
use berth_api::models::{ContainerConfig, ImageDeleteResponseItem, ImageHistoryResponseItem, ImageSummary};
use berth_arch::host::Platform;
use berth_core::{CommitOptions, parse_time, rfc3339};
use berth_image::{
    Filter, HistoryEntry, ImportOptions, Inspect, LoadOptions, Reference, RemoveOptions, Removed, Summary,
};
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::blocking::{self, run};
use crate::call::Call;
use crate::registries;
use crate::reply::{self, Reply, TAR};
use crate::status::Failure;
use crate::told::told;

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn familiar(names: &[Reference]) -> Vec<String> {
    names.iter().map(Reference::familiar).collect()
}

fn filter(filters: &Filters, all: bool) -> Result<Filter, Failure> {
    filters.expect(&["dangling", "label", "label!", "before", "since", "reference", "until"])?;
    let first = |name| filters.get(name).first().cloned();
    let until = first("until").map(|text| parse_time(&text)).transpose()?;
    Ok(Filter {
        all,
        dangling: if filters.has("dangling") { Some(filters.flag("dangling", false)?) } else { None },
        labels: filters.get("label").to_vec(),
        without_labels: filters.get("label!").to_vec(),
        before: first("before"),
        since: first("since"),
        references: filters.get("reference").to_vec(),
        until,
    })
}

pub(crate) async fn list(call: Call) -> Result<Reply, Failure> {
    let filters = call.query.filters()?;
    let mut filter = filter(&filters, call.query.flag("all"))?;
    // From before API 1.40.
    filter.references.extend(call.query.get("filter").map(str::to_owned));
    let images = run(move || call.engine.images().list(&filter)).await?;
    Ok(reply::ok(&images.iter().map(summary).collect::<Vec<_>>()))
}

pub(crate) fn summary(image: &Summary) -> ImageSummary {
    ImageSummary {
        id: image.id.to_string(),
        parent_id: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        repo_tags: familiar(&image.tags),
        repo_digests: familiar(&image.digests),
        created: image.created,
        size: signed(image.size),
        shared_size: -1,
        labels: image.labels.clone().into_iter().collect(),
        containers: -1,
        ..ImageSummary::default()
    }
}

pub(crate) async fn inspect(call: Call, name: &str) -> Result<Reply, Failure> {
    let name = name.to_owned();
    Ok(reply::ok(&inspected(&run(move || call.engine.images().inspect(&name)).await?)))
}

/// In the form of API 1.51, which is not that of the generated types.
fn inspected(found: &Inspect) -> Value {
    let (image, config) = (&found.image, &found.image.config);
    let tagged = found.last_tagged.map_or_else(|| rfc3339(0), rfc3339);
    let diff_ids: Vec<_> = config.rootfs.diff_ids.iter().map(|digest| digest.as_str()).collect();
    let mut value = json!({
        "Id": image.id.to_string(),
        "RepoTags": familiar(&found.tags),
        "RepoDigests": familiar(&found.digests),
        "Parent": image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        "Comment": config.comment.clone().unwrap_or_default(),
        "DockerVersion": config.docker_version.clone().unwrap_or_default(),
        "Author": config.author.clone().unwrap_or_default(),
        "Config": config.config,
        // Gone since API 1.45, which docker-compose 1 speaks without having heard of that.
        "ContainerConfig": config.config,
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": signed(image.size),
        "VirtualSize": signed(image.size),
        "GraphDriver": { "Name": found.driver, "Data": found.driver_data },
        "RootFS": { "Type": config.rootfs.kind, "Layers": diff_ids },
        "Metadata": { "LastTagTime": tagged },
    });
    let optional = [("Created", &config.created), ("Variant", &config.variant), ("OsVersion", &config.os_version)];
    for (name, text) in optional {
        if let Some(text) = text {
            value[name] = json!(text);
        }
    }
    value
}

pub(crate) async fn history(call: Call, name: &str) -> Result<Reply, Failure> {
    let name = name.to_owned();
    let entries = run(move || call.engine.images().history(&name)).await?;
    let item = |entry: HistoryEntry| ImageHistoryResponseItem {
        id: entry.id.map_or_else(|| "<missing>".to_owned(), |id| id.to_string()),
        created: entry.created,
        created_by: entry.created_by,
        tags: familiar(&entry.tags),
        size: signed(entry.size),
        comment: entry.comment,
    };
    Ok(reply::ok(&entries.into_iter().map(item).collect::<Vec<_>>()))
}

/// `repo` and `tag` of a query as one name; `None` if there is no `repo`.
fn target(call: &Call) -> Result<Option<Reference>, Failure> {
    let Some(repository) = call.query.get("repo").filter(|name| !name.is_empty()) else { return Ok(None) };
    let name: Reference = repository.parse::<Reference>()?;
    if name.digest().is_some() {
        return Err(Failure::bad_request("refusing to create a tag with a digest reference"));
    }
    Ok(Some(match call.query.get("tag") {
        Some(tag) => name.with_tag(tag)?,
        None => name.with_default_tag(),
    }))
}

pub(crate) async fn tag(call: Call, name: &str) -> Result<Reply, Failure> {
    let target = target(&call)?.ok_or_else(|| Failure::bad_request("invalid reference format"))?;
    let name = name.to_owned();
    run(move || call.engine.tag_image(&name, &target)).await?;
    Ok(reply::empty(StatusCode::CREATED))
}

fn removed(lines: Vec<Removed>) -> Vec<ImageDeleteResponseItem> {
    let item = |line| match line {
        Removed::Untagged(name) => ImageDeleteResponseItem { untagged: Some(name), deleted: None },
        Removed::Deleted(digest) => ImageDeleteResponseItem { untagged: None, deleted: Some(digest.to_string()) },
    };
    lines.into_iter().map(item).collect()
}

pub(crate) async fn remove(call: Call, name: &str) -> Result<Reply, Failure> {
    if name.is_empty() {
        return Err(Failure::bad_request("image name cannot be blank"));
    }
    let options = RemoveOptions { force: call.query.flag("force"), keep_parents: call.query.flag("noprune") };
    let name = name.to_owned();
    Ok(reply::ok(&removed(run(move || call.engine.remove_image(&name, options)).await?)))
}

pub(crate) async fn prune(call: Call) -> Result<Reply, Failure> {
    let filters = call.query.filters()?;
    let filter = filter(&filters, false)?;
    let all = !filters.flag("dangling", true)?;
    let pruned = run(move || call.engine.prune_images(all, &filter)).await?;
    let deleted = removed(pruned.removed);
    let deleted = (!deleted.is_empty()).then_some(deleted);
    Ok(reply::ok(&json!({ "ImagesDeleted": deleted, "SpaceReclaimed": signed(pruned.reclaimed) })))
}

/// `linux/arm64/v8`, or an OCI platform as JSON.
pub(crate) fn platform(call: &Call) -> Result<Option<Platform>, Failure> {
    let Some(text) = call.query.get("platform").filter(|text| !text.is_empty()) else { return Ok(None) };
    let text = if text.starts_with('{') {
        let invalid =
            |_| Failure::bad_request(format!("invalid platform {text:?}: expected OS/ARCH or OS/ARCH/VARIANT"));
        let value: Value = serde_json::from_str(text).map_err(invalid)?;
        let part = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let variant = part("variant");
        let slash = if variant.is_empty() { "" } else { "/" };
        format!("{}/{}{slash}{variant}", part("os"), part("architecture"))
    } else {
        text.to_owned()
    };
    text.parse().map(Some).map_err(Failure::bad_request)
}

pub(crate) async fn create(call: Call) -> Result<Reply, Failure> {
    if let Some(image) = call.query.get("fromImage") {
        let name = image.to_owned();
        return registries::pull(call, name).await;
    }
    match call.query.get("fromSrc") {
        Some("-") => import(call).await,
        Some(_) => Err(Failure::unsupported("importing from a URL is not supported; fetch it and import from -")),
        None => Err(Failure::bad_request("missing fromImage or fromSrc")),
    }
}

fn import_options(call: &Call) -> Result<ImportOptions, Failure> {
    Ok(ImportOptions {
        reference: target(call)?,
        changes: call.query.all("changes").map(str::to_owned).collect(),
        message: call.query.get("message").map(str::to_owned),
        platform: platform(call)?,
        source: "-".to_owned(),
    })
}

async fn import(call: Call) -> Result<Reply, Failure> {
    let options = import_options(&call);
    told(call, move |engine, body, lines| {
        let id = engine.import_image(body, &options?, &mut |step| lines.progress(step))?;
        lines.send(&json!({ "status": id.to_string() }));
        Ok(())
    })
    .await
}

pub(crate) async fn load(call: Call) -> Result<Reply, Failure> {
    let platform = platform(&call);
    let quiet = call.query.flag("quiet");
    told(call, move |engine, body, lines| {
        let options = LoadOptions { platform: platform? };
        let loaded = engine.load_images(body, &options, &mut |step| {
            if !quiet {
                lines.progress(step);
            }
        })?;
        for line in loaded {
            lines.send(&json!({ "stream": format!("{line}\n") }));
        }
        Ok(())
    })
    .await
}

pub(crate) async fn save_one(call: Call, name: &str) -> Result<Reply, Failure> {
    save(call, vec![name.to_owned()]).await
}

pub(crate) async fn save_many(call: Call) -> Result<Reply, Failure> {
    let names = call.query.all("names").filter(|name| !name.is_empty()).map(str::to_owned).collect();
    save(call, names).await
}

async fn save(call: Call, names: Vec<String>) -> Result<Reply, Failure> {
    if names.is_empty() {
        return Err(Failure::bad_request("no image names: the query needs names=NAME"));
    }
    let engine = call.engine.clone();
    let names = run(move || {
        names.iter().try_for_each(|name| engine.images().resolve(name).map(drop))?;
        Ok::<_, berth_image::Error>(names)
    })
    .await?;
    Ok(blocking::stream(TAR, move |writer| call.engine.save_images(&names, writer)))
}

pub(crate) async fn commit(mut call: Call) -> Result<Reply, Failure> {
    let config: Option<ContainerConfig> = call.json().await?;
    let text = |name| call.query.get(name).map(str::to_owned);
    let options = CommitOptions {
        container: call.query.text("container").to_owned(),
        pause: call.query.get("pause").map(|_| call.query.flag("pause")),
        repository: text("repo"),
        tag: text("tag"),
        author: text("author"),
        message: text("comment"),
        changes: call.query.all("changes").flat_map(str::lines).map(str::to_owned).collect(),
        config,
    };
    let id: String = run(move || call.engine.commit(&options)).await?;
    Ok(reply::json(StatusCode::CREATED, &json!({ "Id": id })))
}
