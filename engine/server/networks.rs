//! `/networks`: the two that need nothing, `none` and `host`.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::Failure;

/// Name and driver; the IDs are fixed, as the networks are the same everywhere.
const NETWORKS: [(&str, &str, &str); 2] = [
    ("none", "null", "6e6f6e6500000000000000000000000000000000000000000000000000000000"),
    ("host", "host", "686f737400000000000000000000000000000000000000000000000000000000"),
];

fn network((name, driver, id): (&str, &str, &str), containers: Value) -> Value {
    json!({
        "Name": name, "Id": id, "Created": "0001-01-01T00:00:00Z", "Scope": "local", "Driver": driver,
        "EnableIPv4": true, "EnableIPv6": false, "IPAM": {"Driver": "default", "Options": null, "Config": null},
        "Internal": false, "Attachable": false, "Ingress": false, "ConfigFrom": {"Network": ""},
        "ConfigOnly": false, "Containers": containers, "Options": {}, "Labels": {},
    })
}

pub(crate) fn list(call: &Call) -> Result<Reply, Failure> {
    let filters = call.query.filters()?;
    filters.expect(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let dangling = filters.flag("dangling", false)?;
    let list = NETWORKS.iter().filter(|(name, driver, id)| {
        !dangling
            && filters.allows_where("name", |wanted| name.contains(wanted))
            && filters.allows_where("id", |wanted| id.starts_with(wanted))
            && filters.allows("driver", driver)
            && filters.allows("scope", "local")
            && filters.allows("type", "builtin")
            && filters.allows_labels(|_| None)
    });
    Ok(reply::ok(&list.map(|&found| network(found, json!({}))).collect::<Vec<_>>()))
}

pub(crate) async fn inspect(call: Call, name: &str) -> Result<Reply, Failure> {
    let found = NETWORKS.iter().find(|(known, _, id)| *known == name || (name.len() >= 4 && id.starts_with(name)));
    let &found = found.ok_or_else(|| no_such(name))?;
    let wanted = found.0;
    let containers = crate::blocking::run(move || call.engine.containers_on_network(wanted)).await?;
    let entry = |(id, name): (String, String)| {
        let empty = "";
        let endpoint = json!({
            "Name": name, "EndpointID": empty, "MacAddress": empty, "IPv4Address": empty, "IPv6Address": empty,
        });
        (id, endpoint)
    };
    Ok(reply::ok(&network(found, Value::Object(containers.into_iter().map(entry).collect()))))
}

pub(crate) fn remove(name: &str) -> Result<Reply, Failure> {
    if NETWORKS.iter().any(|(known, _, id)| *known == name || *id == name) {
        let message = format!("{name} is a pre-defined network and cannot be removed");
        return Err(Failure::new(StatusCode::FORBIDDEN, message));
    }
    Err(no_such(name))
}

pub(crate) fn prune() -> Result<Reply, Failure> {
    Ok(reply::ok(&json!({ "NetworksDeleted": null })))
}

pub(crate) fn no_more() -> Failure {
    Failure::unsupported("networks other than none and host are not supported yet")
}

fn no_such(name: &str) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, format!("network {name} not found"))
}
