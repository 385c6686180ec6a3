//! `GET /events`.

use std::io::Write;
use std::time::Duration;

use berth_core::{EventOptions, parse_time};

use crate::blocking::{self, run};
use crate::call::Call;
use crate::reply::{JSON, Reply};
use crate::status::Failure;

/// How often a follower asks whether its client is still there.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) async fn events(call: Call) -> Result<Reply, Failure> {
    let time = |name| -> Result<Option<i64>, Failure> { Ok(call.query.get(name).map(parse_time).transpose()?) };
    let options = EventOptions { since: time("since")?, until: time("until")?, filters: call.query.filters()? };
    let engine = call.engine.clone();
    let events = run(move || engine.events(options)).await?;
    Ok(blocking::stream(JSON, move |writer| {
        let abandoned = writer.watcher();
        events.run(
            &mut |event| match event {
                Some(event) => {
                    serde_json::to_writer(&mut *writer, event)?;
                    writer.write_all(b"\n")
                }
                None => writer.flush(),
            },
            &abandoned,
            LOOK,
        )
    }))
}
