//! berth's own additions to the API.

use crate::blocking::run;
use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::Failure;

pub(crate) async fn doctor(call: Call) -> Result<Reply, Failure> {
    Ok(reply::ok(&run(move || call.engine.doctor()).await?))
}

/// `repair`: what is missing is brought back, what is left over is removed.
pub(crate) async fn check(call: Call, repair: bool) -> Result<Reply, Failure> {
    Ok(reply::ok(&run(move || call.engine.check_system(repair)).await?))
}
