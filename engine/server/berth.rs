//! berth's own additions to the API.

use berth_api::emulation::Installation;
use berth_core::emulation::Source;

use crate::blocking::run;
use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::Failure;
use crate::told::told;

/// `refresh`: what was remembered of earlier trials is tried again.
pub(crate) async fn doctor(call: Call) -> Result<Reply, Failure> {
    let refresh = call.query.flag("refresh");
    Ok(reply::ok(&run(move || call.engine.doctor(refresh)).await?))
}

/// `repair`: what is missing is brought back, what is left over is removed.
pub(crate) async fn check(call: Call, repair: bool) -> Result<Reply, Failure> {
    Ok(reply::ok(&run(move || call.engine.check_system(repair)).await?))
}

/// `repair`: images with damaged layers and what is left over are removed.
pub(crate) async fn check_storage(call: Call, repair: bool) -> Result<Reply, Failure> {
    told(call, move |engine, _, lines| {
        let check = engine.check_storage(repair, &mut |step| lines.progress(step))?;
        lines.send(&serde_json::json!({ "aux": check }));
        Ok(())
    })
    .await
}

/// `to`: the driver that the layers go to.
pub(crate) async fn migrate_storage(call: Call) -> Result<Reply, Failure> {
    let to = call.query.get("to").unwrap_or_default().to_owned();
    told(call, move |engine, _, lines| {
        let moved = engine.migrate_storage(&to, &mut |step| lines.progress(step))?;
        lines.send(&serde_json::json!({ "aux": moved }));
        Ok(())
    })
    .await
}

pub(crate) async fn emulators(call: Call) -> Result<Reply, Failure> {
    Ok(reply::ok(&run(move || Ok::<_, Failure>(call.engine.emulators())).await?))
}

pub(crate) async fn install_emulation(mut call: Call) -> Result<Reply, Failure> {
    let asked: Installation = call.required_json().await?;
    let source = match (asked.file, asked.image) {
        (Some(_), Some(_)) => return Err(Failure::bad_request("a file or an image can be named, not both")),
        (Some(file), None) => Source::File(file.into()),
        (None, Some(image)) => Source::Image(image),
        (None, None) => Source::Host,
    };
    let engine = call.engine;
    Ok(reply::ok(&run(move || engine.install_emulation(&asked.architectures, &source)).await?))
}

/// `architectures`: separated by commas; none means all that were installed.
pub(crate) async fn remove_emulation(call: Call) -> Result<Reply, Failure> {
    let names = call.query.get("architectures").unwrap_or_default();
    let names: Vec<String> = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Ok(reply::ok(&run(move || call.engine.remove_emulation(&names)).await?))
}
