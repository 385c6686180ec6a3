//! Where plugins are: sockets and files with addresses in Docker's folders.
//!
//! <https://docs.docker.com/engine/extend/plugin_api/#plugin-discovery>

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Error, Result};

/// Bytes of a file with an address.
const LONGEST: u64 = 1 << 20;
const SUFFIXES: [&str; 3] = ["sock", "spec", "json"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// `NAME.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    addr: String,
    #[serde(rename = "TLSConfig")]
    tls: Option<serde_json::Value>,
}

fn not_found(name: &str) -> Error {
    Error::NotFound(format!("plugin {name:?} not found"))
}

/// The address of `name`. Sockets come before files.
pub(super) fn find(folders: &[PathBuf], name: &str) -> Result<Address> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(not_found(name));
    }
    for suffix in SUFFIXES {
        for folder in folders {
            let file = format!("{name}.{suffix}");
            for path in [folder.join(&file), folder.join(name).join(&file)] {
                match suffix {
                    "sock" if is_socket(&path) => return Ok(Address::Unix(path)),
                    "spec" if path.is_file() => return parse(read(&path)?.trim()),
                    "json" if path.is_file() => return described(&read(&path)?, &path),
                    _ => {}
                }
            }
        }
    }
    Err(not_found(name))
}

/// What there is, by name.
pub(super) fn names(folders: &[PathBuf]) -> Vec<String> {
    let mut names = Vec::new();
    for entry in folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten() {
        let path = entry.path();
        let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
        let Some(name) = name.and_then(|name| name.to_str()) else { continue };
        let known = |suffix: &str| path.extension().is_some_and(|found| found == suffix);
        let inside = || SUFFIXES.iter().any(|suffix| path.join(format!("{name}.{suffix}")).exists());
        if SUFFIXES.iter().any(|suffix| known(suffix)) || inside() {
            names.push(name.to_owned());
        }
    }
    names.sort();
    names.dedup();
    names
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

fn read(path: &Path) -> Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    read.map_err(Error::io("read", path))?;
    Ok(text)
}

fn described(text: &str, path: &Path) -> Result<Address> {
    let described: Described =
        serde_json::from_str(text).map_err(|error| Error::invalid(format!("{}: {error}", path.display())))?;
    if described.tls.is_some_and(|tls| !tls.is_null()) {
        return Err(no_tls(&described.addr));
    }
    parse(&described.addr)
}

fn no_tls(address: &str) -> Error {
    Error::Unsupported(format!(
        "plugin at {address}: TLS to plugins is not supported; let it listen on a unix socket, or on TCP on this host"
    ))
}

/// `unix:///PATH`, `tcp://HOST:PORT`, `http://HOST:PORT`.
fn parse(text: &str) -> Result<Address> {
    let invalid = |why: &str| Error::invalid(format!("plugin address {text:?}: {why}"));
    let (scheme, rest) = text.split_once("://").ok_or_else(|| invalid("unix://PATH or tcp://HOST:PORT is wanted"))?;
    match scheme {
        "unix" if rest.starts_with('/') && !rest.contains('\0') => Ok(Address::Unix(rest.into())),
        "tcp" | "http" => {
            let host = rest.split('/').next().unwrap_or_default();
            let found = host.to_socket_addrs().map_err(|error| invalid(&error.to_string()))?.next();
            found.map(Address::Tcp).ok_or_else(|| invalid("no such host"))
        }
        "https" => Err(no_tls(text)),
        _ => Err(invalid("unix://PATH or tcp://HOST:PORT is wanted")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_files_are_found_and_other_names_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().join("none"), folder.path().to_owned()];
        let _listener = std::os::unix::net::UnixListener::bind(folder.path().join("a.sock")).unwrap();
        std::fs::write(folder.path().join("b.spec"), "tcp://127.0.0.1:80\n").unwrap();
        std::fs::create_dir(folder.path().join("c")).unwrap();
        std::fs::write(folder.path().join("c/c.json"), r#"{"Name":"c","Addr":"unix:///x/c.sock"}"#).unwrap();
        std::fs::write(folder.path().join("d.json"), r#"{"Addr":"https://h:1","TLSConfig":{"CAFile":"x"}}"#).unwrap();
        std::fs::write(folder.path().join("e.txt"), "").unwrap();
        assert_eq!(find(&folders, "a").unwrap(), Address::Unix(folder.path().join("a.sock")));
        assert_eq!(find(&folders, "b").unwrap(), Address::Tcp("127.0.0.1:80".parse().unwrap()));
        assert_eq!(find(&folders, "c").unwrap(), Address::Unix("/x/c.sock".into()));
        assert!(find(&folders, "d").unwrap_err().to_string().contains("TLS"));
        for absent in ["e", "../a", "", ".", "a/b"] {
            assert!(matches!(find(&folders, absent), Err(Error::NotFound(_))), "{absent}");
        }
        assert_eq!(names(&folders), ["a", "b", "c", "d"]);
    }

    #[test]
    fn an_address_is_a_url() {
        for bad in ["", "x", "unix://x", "ftp://a:1", "tcp://"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(matches!(parse("https://a:1"), Err(Error::Unsupported(_))));
    }
}
