//! `/volumes`.

use berth_api::models::VolumeCreateRequest;
use hyper::StatusCode;

use crate::blocking::run;
use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::Failure;

/// From here on `prune` leaves volumes alone that somebody named.
const ANONYMOUS_ONLY: berth_api::ApiVersion = berth_api::ApiVersion::new(1, 42);

pub(crate) async fn list(call: Call) -> Result<Reply, Failure> {
    let filters = call.query.filters()?;
    Ok(reply::ok(&run(move || call.engine.volumes(&filters)).await?))
}

pub(crate) async fn create(mut call: Call) -> Result<Reply, Failure> {
    let request: VolumeCreateRequest = call.required_json().await?;
    let engine = call.engine;
    Ok(reply::json(StatusCode::CREATED, &run(move || engine.create_volume(request)).await?))
}

pub(crate) async fn inspect(call: Call, name: &str) -> Result<Reply, Failure> {
    let name = name.to_owned();
    Ok(reply::ok(&run(move || call.engine.inspect_volume(&name)).await?))
}

pub(crate) async fn remove(call: Call, name: &str) -> Result<Reply, Failure> {
    let (name, force) = (name.to_owned(), call.query.flag("force"));
    run(move || call.engine.remove_volume(&name, force)).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn prune(call: Call) -> Result<Reply, Failure> {
    let mut filters = call.query.filters()?;
    if call.version < ANONYMOUS_ONLY && !filters.has("all") {
        filters.add("all", "true");
    }
    Ok(reply::ok(&run(move || call.engine.prune_volumes(&filters)).await?))
}

pub(crate) fn no_cluster() -> Failure {
    Failure::unsupported("volumes of a cluster cannot be updated: berth has no swarm mode")
}
