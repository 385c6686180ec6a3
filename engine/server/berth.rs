//! berth's own additions to the API.

use crate::blocking::run;
use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::Failure;
use crate::told::told;

pub(crate) async fn doctor(call: Call) -> Result<Reply, Failure> {
    Ok(reply::ok(&run(move || call.engine.doctor()).await?))
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
