//! `/networks`: requests taken apart and answers completed; what networks are is the engine's.

use berth_api::models::{NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest, NetworkInspect};
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::blocking::run;
use crate::call::Call;
use crate::complete;
use crate::reply::{self, Reply};
use crate::status::Failure;

/// All networks of one machine have it.
const SCOPE: &str = "local";

fn completed(network: &NetworkInspect) -> Result<Value, Failure> {
    complete::network(network).map_err(Failure::encode)
}

pub(crate) async fn list(call: Call) -> Result<Reply, Failure> {
    let filters = call.query.filters()?;
    let found = run(move || call.engine.networks(&filters)).await?;
    Ok(reply::ok(&found.iter().map(completed).collect::<Result<Vec<_>, _>>()?))
}

pub(crate) async fn create(mut call: Call) -> Result<Reply, Failure> {
    let request: NetworkCreateRequest = call.required_json().await?;
    let created = run(move || call.engine.create_network(request)).await?;
    Ok(reply::json(StatusCode::CREATED, &created))
}

/// `verbose` asks for what only networks of a swarm have.
pub(crate) async fn inspect(call: Call, name: &str) -> Result<Reply, Failure> {
    if call.query.get("scope").is_some_and(|scope| scope != SCOPE) {
        return Err(Failure::new(StatusCode::NOT_FOUND, format!("network {name} not found")));
    }
    let name = name.to_owned();
    let found = run(move || call.engine.inspect_network(&name)).await?;
    Ok(reply::ok(&completed(&found)?))
}

pub(crate) async fn remove(call: Call, name: &str) -> Result<Reply, Failure> {
    let name = name.to_owned();
    run(move || call.engine.remove_network(&name)).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn prune(call: Call) -> Result<Reply, Failure> {
    let filters = call.query.filters()?;
    let deleted = run(move || call.engine.prune_networks(&filters)).await?;
    Ok(reply::ok(&json!({ "NetworksDeleted": deleted })))
}

pub(crate) async fn connect(mut call: Call, name: &str) -> Result<Reply, Failure> {
    let NetworkConnectRequest { container, endpoint_config } = call.required_json().await?;
    let name = name.to_owned();
    run(move || call.engine.connect_network(&name, &container, endpoint_config.unwrap_or_default())).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn disconnect(mut call: Call, name: &str) -> Result<Reply, Failure> {
    let NetworkDisconnectRequest { container, force } = call.required_json().await?;
    let name = name.to_owned();
    run(move || call.engine.disconnect_network(&name, &container, force.unwrap_or_default())).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// Before API 1.44 a container had one MAC address, beside its networks: it is the one of the network that
/// `NetworkMode` names. Says whether `body` has changed.
pub(crate) fn place_mac_address(body: &mut Value) -> bool {
    let address = body.get("MacAddress").and_then(Value::as_str).filter(|address| !address.is_empty());
    let Some(address) = address.map(str::to_owned) else { return false };
    let mode = body.pointer("/HostConfig/NetworkMode").and_then(Value::as_str).filter(|mode| !mode.is_empty());
    let mode = mode.unwrap_or("default").to_owned();
    let mut at = body;
    for field in ["NetworkingConfig", "EndpointsConfig", mode.as_str()] {
        let Value::Object(fields) = at else { return false };
        at = fields.entry(field).or_insert(Value::Null);
        if at.is_null() {
            *at = json!({});
        }
    }
    let Value::Object(endpoint) = at else { return false };
    let own = endpoint.get("MacAddress").and_then(Value::as_str).is_some_and(|own| !own.is_empty());
    if !own {
        endpoint.insert("MacAddress".to_owned(), address.into());
    }
    !own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_clients_mac_address_goes_to_the_network() {
        let placed = |mut body: Value| place_mac_address(&mut body).then(|| body["NetworkingConfig"].take());
        let at = |network: &str| Some(json!({ "EndpointsConfig": { network: { "MacAddress": "m" } } }));
        assert_eq!(placed(json!({ "Image": "i" })), None);
        assert_eq!(placed(json!({ "MacAddress": "" })), None);
        assert_eq!(placed(json!({ "MacAddress": "m" })), at("default"));
        let named = json!({ "MacAddress": "m", "HostConfig": { "NetworkMode": "n" }, "NetworkingConfig": null });
        assert_eq!(placed(named), at("n"));
        let mine = json!({
            "MacAddress": "m", "HostConfig": { "NetworkMode": "n" },
            "NetworkingConfig": { "EndpointsConfig": { "n": { "MacAddress": "mine" } } },
        });
        assert_eq!(placed(mine), None);
    }
}
