//! /etc/hosts, /etc/hostname and /etc/resolv.conf of a container: files in its folder, bound into it.

use std::fmt::Write;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Modes;
use crate::settings::modes::Network;
use crate::{Container, Error, Result, settings};

const LOCALHOST: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// What systemd-resolved keeps where its stub listens on a loopback address.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Name in the folder, place inside.
pub(crate) const FILES: [(&str, &str); 3] =
    [("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")];

/// Writes the files, and says where those that the container sees are.
pub(super) fn write(container: &Container, modes: &Modes, folder: &Path) -> Result<[PathBuf; 3]> {
    if let Some(target) = modes.network_target() {
        // Who shares a network shares its names; the folders lie side by side.
        let theirs = folder.with_file_name(&target.container.id);
        return Ok(FILES.map(|(name, _)| theirs.join(name)));
    }
    let hostname = format!("{}\n", container.config.hostname.as_deref().unwrap_or_default());
    let contents = [hosts(container, &modes.network)?, hostname, resolver(container, &modes.network)];
    let paths = FILES.map(|(name, _)| folder.join(name));
    for (path, text) in paths.iter().zip(contents) {
        // Everybody in the container reads them, whatever the umask of who starts it.
        let written =
            std::fs::write(path, text).and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o644)));
        written.map_err(Error::io("write", path))?;
    }
    Ok(paths)
}

fn hosts(container: &Container, network: &Network) -> Result<String> {
    let mut text = match network {
        Network::Host => bounded("/etc/hosts").unwrap_or_else(|| LOCALHOST.to_owned()),
        _ => LOCALHOST.to_owned(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for line in container.host_config.extra_hosts.iter().flatten() {
        let (name, address) = settings::extra_host(line)?;
        let _ = writeln!(text, "{address}\t{name}");
    }
    Ok(text)
}

fn resolver(container: &Container, network: &Network) -> String {
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
    if dns.is_empty() {
        // A loopback address of the host's is not this network's.
        for server in servers(&of_host).filter(|server| host_network || !is_loopback(server)) {
            let _ = writeln!(text, "nameserver {server}");
        }
    }
    for server in &dns {
        let _ = writeln!(text, "nameserver {server}");
    }
    let search = if search.is_empty() { word("search").join(" ") } else { search.join(" ") };
    if !search.is_empty() && search != "." {
        let _ = writeln!(text, "search {search}");
    }
    let options = if options.is_empty() { word("options").join(" ") } else { options.join(" ") };
    if !options.is_empty() {
        let _ = writeln!(text, "options {options}");
    }
    text
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
fn bounded(path: &str) -> Option<String> {
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
        let text = hosts(&container, &Network::None).unwrap();
        assert!(text.starts_with(LOCALHOST) && text.ends_with("10.0.0.1\tdb\n::1\tsix\n"), "{text}");
        container.host_config.dns = Some(vec!["9.9.9.9".to_owned()]);
        container.host_config.dns_search = Some(vec!["a.example".to_owned()]);
        container.host_config.dns_options = Some(vec!["ndots:2".to_owned()]);
        let text = resolver(&container, &Network::None);
        assert_eq!(text, "nameserver 9.9.9.9\nsearch a.example\noptions ndots:2\n");
    }
}
