//! Interfaces of a jail with a network of its own, by ifconfig(8) and route(8).

use std::process::{Command, Stdio};

use berth_arch::program;

use super::network::{Network, Pair};
use crate::error::setup;
use crate::{ContainerId, Error, Result};

/// Runs a program of the system; what it printed.
pub(super) fn run(name: &str, arguments: &[&str]) -> Result<String> {
    let step = || format!("run {name} {}", arguments.join(" "));
    let path = program::find(name).ok_or_else(|| Error::Unavailable(format!("the jail backend needs {name}(8)")))?;
    let output = Command::new(path).args(arguments).stdin(Stdio::null()).output().map_err(setup(step()))?;
    if !output.status.success() {
        return Err(setup(step())(std::io::Error::other(program::first_line(&output.stderr))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The host's end of a container's pair: found again by its name (IFNAMSIZ is 16).
fn host_end(id: &ContainerId) -> String {
    let known: String = id.as_str().chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    format!("b{known}h")
}

/// Moves interfaces into the jail and gives them addresses.
pub(super) fn set_up(id: &ContainerId, jail: &str, network: &Network) -> Result<()> {
    let Network::Own { interfaces, pair } = network else { return Ok(()) };
    run("ifconfig", &["-j", jail, "lo0", "inet", "127.0.0.1/8", "up"])?;
    for name in interfaces {
        run("ifconfig", &[name, "vnet", jail])?;
    }
    match pair {
        Some(pair) => connect(id, jail, pair),
        None => Ok(()),
    }
}

fn connect(id: &ContainerId, jail: &str, pair: &Pair) -> Result<()> {
    let made = run("ifconfig", &["epair", "create"])?;
    let ours = made.trim();
    let number = ours.strip_suffix('a').unwrap_or(ours);
    let (theirs, host) = (format!("{number}b"), host_end(id));
    let connected = run("ifconfig", &[ours, "name", &host]).and_then(|_| {
        run("ifconfig", &[&theirs, "vnet", jail])?;
        run("ifconfig", &["-j", jail, &theirs, "name", "eth0"])?;
        run("ifconfig", &[&pair.bridge, "addm", &host])?;
        run("ifconfig", &[&host, "up"])
    });
    if let Err(error) = connected {
        // Whichever name it has by now.
        let _ = run("ifconfig", &[ours, "destroy"]);
        return Err(error);
    }
    let family = |text: &str| if text.contains(':') { "inet6" } else { "inet" };
    if let Some(address) = &pair.address {
        run("ifconfig", &["-j", jail, "eth0", family(address), address, "up"])?;
    }
    if let Some(gateway) = &pair.gateway {
        let family = format!("-{}", family(gateway));
        run("route", &["-j", jail, "add", &family, "default", gateway])?;
    }
    Ok(())
}

/// Removes the container's pair, both ends. Idempotent. Interfaces of the host's come back by themselves with the jail's end.
pub(super) fn take_down(id: &ContainerId) {
    let _ = run("ifconfig", &[&host_end(id), "destroy"]);
}
