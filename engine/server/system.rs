//! What the engine says about itself.

use berth_api::version;
use berth_image::{Digest, ImageUsage, LayerUsage};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue, PRAGMA};
use serde_json::json;

use crate::blocking::run;
use crate::call::Call;
use crate::images;
use crate::reply::{self, Reply};
use crate::route::is_head;
use crate::status::Failure;

pub(crate) fn ping(call: &Call) -> Result<Reply, Failure> {
    let mut reply = reply::text(StatusCode::OK, if is_head(call) { "" } else { "OK" });
    let headers = reply.headers_mut();
    headers.insert("Builder-Version", HeaderValue::from_static("1"));
    headers.insert("Swarm", HeaderValue::from_static("inactive"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    Ok(reply)
}

pub(crate) async fn version(call: Call) -> Result<Reply, Failure> {
    let mut answer = run(move || Ok::<_, Failure>(call.engine.version())).await?;
    answer.api_version = Some(version::CURRENT.to_string());
    answer.min_api_version = Some(version::MINIMUM.to_string());
    // The command line of Docker shows the engine as a component, by these.
    for component in answer.components.iter_mut().flatten() {
        let versions = [("ApiVersion", version::CURRENT), ("MinAPIVersion", version::MINIMUM)];
        let details = component.details.get_or_insert_default();
        details.extend(versions.map(|(name, version)| (name.to_owned(), version.to_string())));
        details.insert("Experimental".to_owned(), "false".to_owned());
    }
    Ok(reply::ok(&answer))
}

pub(crate) async fn info(call: Call) -> Result<Reply, Failure> {
    Ok(reply::ok(&run(move || call.engine.info()).await?))
}

pub(crate) async fn disk_usage(call: Call) -> Result<Reply, Failure> {
    let kinds: Vec<String> = call.query.all("type").map(str::to_owned).collect();
    if let Some(kind) = kinds.iter().find(|kind| !["container", "image", "volume", "build-cache"].contains(&&***kind)) {
        return Err(Failure::bad_request(format!("unknown object type: {kind}")));
    }
    let kinds_wanted = kinds.clone();
    let driver = call.engine.storage().name;
    // Docker's, from 1.52 on.
    let verbose = call.query.flag("verbose");
    let usage = run(move || call.engine.disk_usage(&kinds, verbose)).await?;
    let count =
        |id: &str| usage.containers.iter().filter(|container| container.image_id.as_deref() == Some(id)).count();
    let image = |found: &ImageUsage| {
        let mut image = images::summary(&found.summary);
        image.shared_size = i64::try_from(found.shared).unwrap_or(i64::MAX);
        image.containers = i64::try_from(count(&image.id)).unwrap_or(i64::MAX);
        image
    };
    let wants_containers = kinds_wanted.is_empty() || kinds_wanted.iter().any(|kind| kind == "container");
    let layer = |layer: &LayerUsage| {
        json!({
            "Id": layer.id,
            "DiffId": layer.diff_id.as_ref().map_or("", Digest::as_str),
            "Size": layer.content,
            "DiskSize": layer.on_disk.bytes,
            "Inodes": layer.on_disk.inodes,
            "Images": layer.images,
            "Containers": layer.containers,
        })
    };
    let mut answer = json!({
        "LayersSize": usage.layers,
        "Images": usage.images.iter().map(image).collect::<Vec<_>>(),
        "Containers": if wants_containers { json!(usage.containers) } else { json!([]) },
        "Volumes": usage.volumes,
        "BuildCache": [],
        "BuilderSize": 0,
    });
    if verbose {
        let layers: Vec<_> = usage.storage.iter().map(layer).collect();
        answer["Berth"] = json!({ "Driver": driver, "Free": usage.free, "Layers": layers });
    }
    Ok(reply::ok(&answer))
}
