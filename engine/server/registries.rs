//! What goes to registries: pulls and pushes, logins and questions.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use berth_core::Engine;
use berth_distribution::{Credentials, Line, Transfer};
use berth_image::Reference;
use serde_json::{Value, json};

use crate::blocking::run;
use crate::call::Call;
use crate::images::platform;
use crate::reply::{self, Reply};
use crate::status::Failure;
use crate::told::{Lines, told};

/// Who the client is to registries (`X-Registry-Auth`).
fn credentials(call: &Call) -> Result<Option<Credentials>, Failure> {
    let Some(header) = call.headers.get("x-registry-auth") else { return Ok(None) };
    let text = header.to_str().map_err(|_| Failure::bad_request("invalid X-Registry-Auth header"))?;
    Ok(Credentials::decode(text)?)
}

/// Tells several threads' lines in Docker's form.
struct Teller<'t, 'l>(Mutex<&'t mut Lines<'l>>);

impl Teller<'_, '_> {
    fn tell(&self, line: Line) {
        let mut value = json!({ "status": line.status });
        if !line.id.is_empty() {
            value["id"] = json!(line.id);
        }
        if let Some((current, total)) = line.progress {
            value["progressDetail"] = json!({ "current": current, "total": total });
            value["progress"] = json!(bar(current, total));
        } else if !line.id.is_empty() {
            value["progressDetail"] = json!({});
        }
        self.send(&value);
    }

    fn send(&self, value: &Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).send(value);
    }
}

/// `[=====>     ]  1.2MB/3.4MB`, as clients that do not draw for themselves show it.
fn bar(current: u64, total: u64) -> String {
    const WIDTH: u64 = 50;
    let done = (current.min(total) * WIDTH).checked_div(total).unwrap_or(WIDTH);
    let (full, empty) = ("=".repeat(done as usize), " ".repeat((WIDTH - done) as usize));
    let head = if done < WIDTH { ">" } else { "" };
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    format!(
        "[{full}{head}{}]  {:.1}MB/{:.1}MB",
        empty.get(head.len()..).unwrap_or(""),
        megabytes(current),
        megabytes(total)
    )
}

/// The image that `fromImage` and `tag` mean; without either's tag or digest it is all of the repository.
fn wanted(name: &str, tag: &str) -> Result<Reference, Failure> {
    // Clients that want all tags may say so by a colon.
    let reference: Reference = name.strip_suffix(':').unwrap_or(name).parse()?;
    Ok(match tag {
        "" => reference,
        digest if digest.contains(':') => reference.with_digest(digest.parse()?),
        tag => reference.with_tag(tag)?,
    })
}

pub(crate) async fn pull(call: Call, name: String) -> Result<Reply, Failure> {
    let reference = wanted(&name, call.query.get("tag").unwrap_or_default())?;
    let (platform, credentials) = (platform(&call)?, credentials(&call)?);
    let engine = call.engine.clone();
    let familiar = reference.clone().with_default_tag().familiar();
    let own = run(move || engine.images().ensure_hello(&familiar)).await?;
    if own {
        return told(call, move |_, _, lines| {
            let name = reference.with_default_tag().familiar();
            lines.send(&json!({ "status": format!("Status: {name} is part of berth itself") }));
            Ok(())
        })
        .await;
    }
    told(call, move |engine, _, lines| {
        let (stop, teller) = (lines.watcher(), Teller(Mutex::new(lines)));
        let tell = |line| teller.tell(line);
        let transfer = Transfer { credentials: credentials.as_ref(), tell: &tell, stop: &stop };
        let one = reference.tag().is_some() || reference.digest().is_some();
        let registries = engine.registries()?;
        let references =
            if one { vec![reference.clone()] } else { registries.tags(&reference, credentials.as_ref())? };
        let mut newer = false;
        for reference in &references {
            newer |= registries.pull(reference, platform.as_ref(), transfer)?.newer;
        }
        let name = if one { reference.familiar() } else { reference.familiar_name() };
        let word = if newer { "Downloaded newer image for" } else { "Image is up to date for" };
        teller.send(&json!({ "status": format!("Status: {word} {name}") }));
        Ok(())
    })
    .await
}

pub(crate) async fn push(call: Call, name: &str) -> Result<Reply, Failure> {
    let tag = call.query.get("tag").unwrap_or_default().to_owned();
    let reference = wanted(name, &tag)?;
    if reference.digest().is_some() {
        return Err(Failure::bad_request("cannot push a digest reference"));
    }
    let credentials = credentials(&call)?;
    told(call, move |engine, _, lines| {
        let references = to_push(engine, &reference)?;
        let (stop, teller) = (lines.watcher(), Teller(Mutex::new(lines)));
        teller.send(&json!({ "status": format!("The push refers to repository [{}]", reference.repository()) }));
        let tell = |line| teller.tell(line);
        let transfer = Transfer { credentials: credentials.as_ref(), tell: &tell, stop: &stop };
        let registries = engine.registries()?;
        for reference in &references {
            let pushed = registries.push(reference, transfer)?;
            let tag = reference.tag().unwrap_or_default();
            let aux = json!({ "Tag": tag, "Digest": pushed.digest.to_string(), "Size": pushed.size });
            teller.send(&json!({ "progressDetail": {}, "aux": aux }));
        }
        Ok(())
    })
    .await
}

/// A name without a tag means all of the repository's.
fn to_push(engine: &Engine, reference: &Reference) -> berth_core::Result<Vec<Reference>> {
    let missing = || {
        let name = reference.familiar_name();
        berth_core::Error::NotFound(format!("An image does not exist locally with the tag: {name}"))
    };
    if reference.tag().is_some() {
        engine.images().resolve_reference(reference)?.ok_or_else(missing)?;
        return Ok(vec![reference.clone()]);
    }
    let tags = engine.images().tags(reference)?;
    if tags.is_empty() { Err(missing()) } else { Ok(tags) }
}

pub(crate) async fn look_up(call: Call, name: &str) -> Result<Reply, Failure> {
    let reference = name.parse::<Reference>()?.with_default_tag();
    let credentials = credentials(&call)?;
    let found = run(move || call.engine.registries()?.look_up(&reference, credentials.as_ref())).await?;
    Ok(reply::ok(&json!({ "Descriptor": found.descriptor, "Platforms": found.platforms })))
}

pub(crate) async fn log_in(mut call: Call) -> Result<Reply, Failure> {
    let given: Option<Credentials> = call.json().await?;
    let given = given.unwrap_or_default().whole()?;
    run(move || call.engine.registries()?.log_in(&given.serveraddress, &given)).await?;
    Ok(reply::ok(&BTreeMap::from([("Status", "Login Succeeded"), ("IdentityToken", "")])))
}
