//! berth's own additions to the API.

use crate::blocking::run;
use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::Failure;

pub(crate) async fn doctor(call: Call) -> Result<Reply, Failure> {
    Ok(reply::ok(&run(move || call.engine.doctor()).await?))
}
