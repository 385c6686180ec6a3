//! /etc/hosts, /etc/hostname and /etc/resolv.conf of a container: files in its folder, bound into it.

use std::fmt::Write;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Modes;
use crate::networks::Prepared;
use crate::settings::HostAddress;
use crate::settings::modes::Network;
use crate::{Container, Error, Result, settings};

const LOCALHOST: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// Where the container's monitor answers.
const RESOLVER: &str = "127.0.0.11";

/// What systemd-resolved keeps where its stub listens on a loopback address.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Name in the folder, place inside.
pub(crate) const FILES: [(&str, &str); 3] =
    [("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")];

/// Writes the files, and says where those that the container sees are.
pub(super) fn write(container: &Container, modes: &Modes, networks: &Prepared, folder: &Path) -> Result<[PathBuf; 3]> {
    if let Some(target) = modes.network_target() {
        // Who shares a network shares its names; the folders lie side by side.
        let theirs = folder.with_file_name(&target.container.id);
        return Ok(FILES.map(|(name, _)| theirs.join(name)));
    }
    let hostname = format!("{}\n", container.config.hostname.as_deref().unwrap_or_default());
    let answered = networks.plan.resolver.is_some();
    let contents =
        [hosts(container, &modes.network, networks)?, hostname, resolver(container, &modes.network, answered)];
    let paths = FILES.map(|(name, _)| folder.join(name));
    for (path, text) in paths.iter().zip(contents) {
        // Everybody in the container reads them, whatever the umask of who starts it.
        let written = std::fs::write(path, text)
            .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o644)))
            .and_then(|()| match container.root_outside() {
                Some((user, group)) => std::os::unix::fs::chown(path, Some(user), Some(group)),
                None => Ok(()),
            });
        written.map_err(Error::io("write", path))?;
    }
    Ok(paths)
}

fn hosts(container: &Container, network: &Network, networks: &Prepared) -> Result<String> {
    let mut text = match network {
        Network::Host => bounded("/etc/hosts").unwrap_or_else(|| LOCALHOST.to_owned()),
        _ => LOCALHOST.to_owned(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for (address, names) in &networks.hosts {
        let _ = writeln!(text, "{address}\t{names}");
    }
    for line in container.host_config.extra_hosts.iter().flatten() {
        let (name, address) = settings::extra_host(line)?;
        let address = match address {
            HostAddress::Address(address) => address,
            HostAddress::Gateway => networks.host_gateway(network).ok_or_else(|| {
                Error::invalid(format!("--add-host {line}: unable to derive the IP value for host-gateway: this container has no way to the host"))
            })?,
        };
        let _ = writeln!(text, "{address}\t{name}");
    }
    Ok(text)
}

/// Networks came or went while the container runs. A file that somebody else wrote is left as it is, as Docker does;
/// so is the inode, which is bound into the container.
pub(crate) fn ask_elsewhere(container: &Container, network: &Network, answered: bool, folder: &Path) -> Result<()> {
    let path = folder.join("resolv.conf");
    if bounded(&path).is_some_and(|text| text == resolver(container, network, !answered)) {
        std::fs::write(&path, resolver(container, network, answered)).map_err(Error::io("write", path))?;
    }
    Ok(())
}

/// `answered`: by the container's monitor.
fn resolver(container: &Container, network: &Network, answered: bool) -> String {
    let host = &container.host_config;
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let (dns, search, options) = (list(&host.dns), list(&host.dns_search), list(&host.dns_options));
    let of_host = bounded("/etc/resolv.conf").unwrap_or_default();
    let host_network = *network == Network::Host;
    if host_network && dns.is_empty() && search.is_empty() && options.is_empty() {
        return of_host;
    }
    let of_host = match bounded(RESOLVED) {
        Some(real) if !host_network && servers(&of_host).all(is_loopback) => real,
        _ => of_host,
    };
    let mut text = String::new();
    let word = |name: &str| {
        of_host
            .lines()
            .filter_map(|line| line.trim().strip_prefix(name).filter(|rest| rest.starts_with(char::is_whitespace)))
            .map(|rest| rest.trim().to_owned())
            .collect::<Vec<_>>()
    };
    if answered {
        // It asks the others, on the container's behalf.
        let _ = writeln!(text, "nameserver {RESOLVER}");
    } else if dns.is_empty() {
        // A loopback address of the host's is not this network's.
        for server in servers(&of_host).filter(|server| host_network || !is_loopback(server)) {
            let _ = writeln!(text, "nameserver {server}");
        }
    }
    for server in dns.iter().filter(|_| !answered) {
        let _ = writeln!(text, "nameserver {server}");
    }
    let search = if search.is_empty() { word("search").join(" ") } else { search.join(" ") };
    if !search.is_empty() && search != "." {
        let _ = writeln!(text, "search {search}");
    }
    let mut options = if options.is_empty() { word("options").join(" ") } else { options.join(" ") };
    if answered && !options.contains("ndots:") {
        // As Docker: names of one word are asked for as they are.
        options = format!("{options} ndots:0").trim_start().to_owned();
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {options}");
    }
    text
}

/// The host's name servers, its stubs included: what a process of the host asks.
pub(crate) fn name_servers() -> Vec<std::net::IpAddr> {
    let of_host = bounded("/etc/resolv.conf").unwrap_or_default();
    servers(&of_host).filter_map(|server| server.parse().ok()).collect()
}

fn servers(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == "nameserver").then(|| words.next()).flatten()
    })
}

fn is_loopback(server: &str) -> bool {
    server.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A file of the host's, unless it is too long to be what its name says.
fn bounded(path: impl AsRef<Path>) -> Option<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(1 << 20).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::record::tests::container;

    #[test]
    fn given_names_and_addresses_are_written() {
        let mut container = container();
        container.host_config.extra_hosts = Some(vec!["db:10.0.0.1".to_owned(), "six=[::1]".to_owned()]);
        let text = hosts(&container, &Network::None, &Prepared::default()).unwrap();
        assert!(text.starts_with(LOCALHOST) && text.ends_with("10.0.0.1\tdb\n::1\tsix\n"), "{text}");
        container.host_config.dns = Some(vec!["9.9.9.9".to_owned()]);
        container.host_config.dns_search = Some(vec!["a.example".to_owned()]);
        container.host_config.dns_options = Some(vec!["ndots:2".to_owned()]);
        let text = resolver(&container, &Network::None, false);
        assert_eq!(text, "nameserver 9.9.9.9\nsearch a.example\noptions ndots:2\n");
    }
}
