//! `GET /containers/{id}/stats`.

use std::io::Write;
use std::time::Duration;

use crate::blocking::{self, run};
use crate::call::Call;
use crate::reply::{self, JSON, Reply};
use crate::status::Failure;

const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn stats(call: Call, name: &str) -> Result<Reply, Failure> {
    let (engine, name) = (call.engine.clone(), name.to_owned());
    let mut meter = run(move || engine.stats(&name)).await?;
    if !call.query.flag_or("stream", true) {
        let once = call.query.flag("one-shot");
        return Ok(reply::ok(
            &run(move || {
                let first = meter.sample()?;
                // The client computes the use of processors from two samples.
                if once || !meter.is_running() {
                    return Ok::<_, berth_core::Error>(first);
                }
                std::thread::sleep(INTERVAL);
                meter.sample()
            })
            .await?,
        ));
    }
    Ok(blocking::stream(JSON, move |writer| {
        while !writer.is_closed() {
            let sample = match meter.sample() {
                // It was removed meanwhile.
                Err(berth_core::Error::NotFound(_)) => return Ok(()),
                sample => sample.map_err(std::io::Error::other)?,
            };
            serde_json::to_writer(&mut *writer, &sample)?;
            writer.write_all(b"\n")?;
            writer.flush()?;
            std::thread::sleep(INTERVAL);
        }
        Ok::<_, std::io::Error>(())
    }))
}
