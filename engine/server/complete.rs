//! Fields that Docker's answers have even where there is nothing to say: clients read them without asking first
//! (docker-py's `exec_run(detach=True)`, `{{.NetworkSettings.IPAddress}}`). The wire types leave out what is unset.

use serde::Serialize;
use serde_json::{Value, json};

/// `value` with the fields of `defaults` that it lacks, in objects within objects too.
fn fill(value: &mut Value, defaults: Value) {
    let (Value::Object(fields), Value::Object(defaults)) = (value, defaults) else { return };
    for (name, default) in defaults {
        match fields.get_mut(&name) {
            Some(field) => fill(field, default),
            None => drop(fields.insert(name, default)),
        }
    }
}

fn filled(value: &impl Serialize, defaults: Value) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(value)?;
    fill(&mut value, defaults);
    Ok(value)
}

/// `GET /containers/{id}/json`.
pub(crate) fn container(found: &impl Serialize) -> serde_json::Result<Value> {
    let mut value = filled(
        found,
        json!({
            "ExecIDs": null,
            "HostConfig": {
                "Binds": null, "VolumesFrom": null, "CapAdd": null, "CapDrop": null, "ExtraHosts": null,
                "GroupAdd": null, "Links": null, "SecurityOpt": null, "BlkioWeightDevice": null,
                "BlkioDeviceReadBps": null, "BlkioDeviceWriteBps": null, "BlkioDeviceReadIOps": null,
                "BlkioDeviceWriteIOps": null, "DeviceCgroupRules": null, "DeviceRequests": null,
                "MemorySwappiness": null, "PidsLimit": null, "Isolation": "", "CpuCount": 0, "CpuPercent": 0,
                "IOMaximumIOps": 0, "IOMaximumBandwidth": 0,
            },
            "Config": { "Cmd": null, "Entrypoint": null, "Volumes": null, "OnBuild": null },
            "NetworkSettings": {
                "Bridge": "", "HairpinMode": false, "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0,
                "SecondaryIPAddresses": null, "SecondaryIPv6Addresses": null, "EndpointID": "", "Gateway": "",
                "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "IPAddress": "", "IPPrefixLen": 0,
                "IPv6Gateway": "", "MacAddress": "",
            },
        }),
    )?;
    // What the default network gives stands a second time where it stood before there were others.
    let default = value.pointer("/NetworkSettings/Networks/bridge").cloned().unwrap_or_default();
    for name in [
        "EndpointID",
        "Gateway",
        "GlobalIPv6Address",
        "GlobalIPv6PrefixLen",
        "IPAddress",
        "IPPrefixLen",
        "IPv6Gateway",
        "MacAddress",
    ] {
        if let Some(known) = default.get(name).filter(|known| !known.is_null()) {
            value["NetworkSettings"][name] = known.clone();
        }
    }
    if let Some(Value::Object(networks)) = value.pointer_mut("/NetworkSettings/Networks") {
        for endpoint in networks.values_mut() {
            fill(
                endpoint,
                json!({
                    "IPAMConfig": null, "Links": null, "Aliases": null, "DriverOpts": null, "GwPriority": 0,
                    "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null,
                }),
            );
        }
    }
    Ok(value)
}

/// `GET /networks/{id}`, and one of `GET /networks`.
pub(crate) fn network(found: &impl Serialize) -> serde_json::Result<Value> {
    let mut value = filled(
        found,
        json!({
            "Name": "", "Id": "", "Created": "0001-01-01T00:00:00Z", "Scope": "local", "Driver": "",
            "EnableIPv4": true, "EnableIPv6": false, "IPAM": { "Driver": "default", "Options": {}, "Config": [] },
            "Internal": false, "Attachable": false, "Ingress": false, "ConfigFrom": { "Network": "" },
            "ConfigOnly": false, "Containers": {}, "Options": {}, "Labels": {},
        }),
    )?;
    if let Some(Value::Object(containers)) = value.get_mut("Containers") {
        for endpoint in containers.values_mut() {
            fill(
                endpoint,
                json!({ "Name": "", "EndpointID": "", "MacAddress": "", "IPv4Address": "", "IPv6Address": "" }),
            );
        }
    }
    Ok(value)
}

/// `GET /exec/{id}/json`: a program that runs has no exit code yet.
pub(crate) fn execution(found: &impl Serialize) -> serde_json::Result<Value> {
    filled(found, json!({ "ExitCode": null }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_every_field() {
        let found = network(&json!({
            "Name": "n", "IPAM": { "Config": [{ "Subnet": "s" }] }, "Labels": { "a": "b" },
            "Containers": { "c": { "Name": "one" } },
        }))
        .unwrap();
        assert_eq!((&found["IPAM"]["Config"][0]["Subnet"], &found["IPAM"]["Options"]), (&json!("s"), &json!({})));
        assert_eq!((&found["Labels"], &found["Options"]), (&json!({ "a": "b" }), &json!({})));
        assert_eq!(
            (&found["Containers"]["c"]["Name"], &found["Containers"]["c"]["IPv4Address"]),
            (&json!("one"), &json!(""))
        );
        assert_eq!((&found["Scope"], &found["ConfigFrom"]["Network"]), (&json!("local"), &json!("")));
    }

    #[test]
    fn what_is_there_stays_and_what_is_not_is_null() {
        let found =
            json!({ "Config": { "Cmd": ["a"] }, "NetworkSettings": { "Networks": { "none": { "MacAddress": "m" } } } });
        let found = container(&found).unwrap();
        assert_eq!(found["Config"]["Cmd"], json!(["a"]));
        assert_eq!(found["Config"].get("Entrypoint"), Some(&Value::Null));
        assert_eq!(found["NetworkSettings"]["IPAddress"], "");
        let endpoint = &found["NetworkSettings"]["Networks"]["none"];
        assert_eq!((&endpoint["MacAddress"], endpoint.get("Aliases")), (&json!("m"), Some(&Value::Null)));
    }
}
