//! `berth cp`: files between a container and the local file system, or as a tar stream.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use berth_arch::root_dir::RootDir;
use berth_client::{Client, Incoming, Method};
use berth_fs_drivers::diff::{FilesOptions, Owners, pack_path, unpack_files};
use serde::Deserialize;

use super::Act;
use super::each::container;
use crate::session::Session;
use crate::streams::{BodyWriter, body_from, body_reader, body_writer};

#[derive(Debug, clap::Args)]
pub(crate) struct Cp {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Suppress progress output during copy
    #[arg(short, long)]
    quiet: bool,
    /// CONTAINER:PATH, a local path, or `-` for a tar stream
    source: String,
    destination: String,
}

/// What `X-Docker-Container-Path-Stat` says; `mode` is Go's.
#[derive(Debug, Deserialize)]
struct PathStat {
    #[serde(default)]
    mode: u32,
    #[serde(default, rename = "linkTarget")]
    link_target: String,
}

impl PathStat {
    fn is_dir(&self) -> bool {
        self.mode & (1 << 31) != 0
    }

    fn is_link(&self) -> bool {
        self.mode & (1 << 27) != 0
    }
}

/// `NAME:PATH`; something that begins like a path is one, whatever colons it has.
fn split(argument: &str) -> (Option<&str>, &str) {
    match argument.split_once(':') {
        Some((name, path)) if !argument.starts_with(['.', '/']) && !name.is_empty() => (Some(name), path),
        _ => (None, argument),
    }
}

impl Act for Cp {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let client = &session.client;
        ensure!(!self.source.is_empty(), "source can not be empty");
        ensure!(!self.destination.is_empty(), "destination can not be empty");
        let message = match (split(&self.source), split(&self.destination)) {
            ((Some(name), path), (None, local)) => self.download(client, name, path, local).await?,
            ((None, local), (Some(name), path)) => self.upload(client, local, name, path).await?,
            ((Some(_), _), (Some(_), _)) => bail!("copying between containers is not supported"),
            _ => bail!("must specify at least one container source"),
        };
        if let Some(message) = message.filter(|_| !self.quiet) {
            eprintln!("{message}");
        }
        Ok(0)
    }
}

/// Whether a path asks for what is in the folder and not the folder. The root has no name that it could be copied as.
fn contents_only(path: &str) -> bool {
    path.ends_with("/.") || path == "." || path.trim_end_matches('/').is_empty()
}

/// `path` as an absolute one inside the container, with a trailing `/.` or `/` kept.
fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

async fn stat(client: &Client, name: &str, path: &str) -> anyhow::Result<Option<PathStat>> {
    let response = client.stream(Method::HEAD, &container(name, "archive"), &[("path", path)], None, None).await;
    match response {
        Ok(response) => decode(response.headers()).map(Some),
        Err(error) if error.status() == Some(404) => {
            // A HEAD has no words; the GET of the container tells which of the two is missing.
            client.get::<serde_json::Value>(&container(name, "json"), &()).await?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn decode(headers: &berth_client::HeaderMap) -> anyhow::Result<PathStat> {
    let header = headers.get("x-docker-container-path-stat").context("the engine did not describe the path")?;
    let json = base64::engine::general_purpose::STANDARD.decode(header).context("decode the path's description")?;
    Ok(serde_json::from_slice(&json)?)
}

impl Cp {
    async fn download(&self, client: &Client, name: &str, path: &str, local: &str) -> anyhow::Result<Option<String>> {
        ensure!(!path.is_empty(), "source path cannot be empty");
        let mut path = absolute(path);
        if self.follow_link
            && let Some(found) = stat(client, name, &path).await?
            && found.is_link()
        {
            path = absolute(&resolve_link(&path, &found.link_target));
        }
        let response = client.stream(Method::GET, &container(name, "archive"), &[("path", &path)], None, None).await?;
        let source = decode(response.headers())?;
        if local == "-" {
            super::export::copy(response.into_body(), std::io::stdout()).await?;
            return Ok(None);
        }
        let target = Path::new(local);
        let to = plan(target, local, source.is_dir(), contents_only(&path))?;
        let archive = self.archive;
        receive(response.into_body(), to, archive).await?;
        Ok(Some(format!("Successfully copied {name}:{path} to {local}")))
    }

    async fn upload(&self, client: &Client, local: &str, name: &str, path: &str) -> anyhow::Result<Option<String>> {
        ensure!(!path.is_empty(), "destination path cannot be empty");
        let path = absolute(path);
        let mut query = vec![("noOverwriteDirNonDir", "true".to_owned())];
        if self.archive {
            query.push(("copyUIDGID", "true".to_owned()));
        }
        let mut existing = stat(client, name, &path).await?;
        let mut path = path;
        if let Some(link) = existing.as_ref().filter(|found| found.is_link()) {
            path = absolute(&resolve_link(&path, &link.link_target));
            existing = stat(client, name, &path).await?;
        }
        if local == "-" {
            ensure!(existing.is_some_and(|found| found.is_dir()), "destination \"{name}:{path}\" must be a directory");
            query.push(("path", path));
            put(client, name, &query, body_from(std::io::stdin(), |_| ())).await?;
            return Ok(None);
        }
        let source = PathBuf::from(local);
        let described = if self.follow_link || local.ends_with('/') {
            fs::metadata(&source)
        } else {
            fs::symlink_metadata(&source)
        };
        let described = described.with_context(|| format!("look at {local}"))?;
        let (folder, base) = match existing {
            Some(found) if found.is_dir() => {
                let base = if contents_only(local) { ".".to_owned() } else { base_name(&source)? };
                (path.clone(), base)
            }
            Some(_) => {
                ensure!(!described.is_dir(), "cannot copy directory: \"{name}:{path}\" is a file");
                ensure!(!path.ends_with('/'), "not a directory: \"{name}:{path}\"");
                parent_and_name(&path)
            }
            None => {
                ensure!(described.is_dir() || !path.ends_with('/'), "no such directory: \"{name}:{path}\"");
                parent_and_name(path.trim_end_matches('/'))
            }
        };
        query.push(("path", folder));
        let (writer, body) = body_writer();
        let (keep, follow) = (self.archive, self.follow_link);
        std::thread::spawn(move || send(&source, &base, keep, follow, writer));
        put(client, name, &query, body).await?;
        Ok(Some(format!("Successfully copied {local} to {name}:{path}")))
    }
}

async fn put(client: &Client, name: &str, query: &[(&str, String)], body: berth_client::Body) -> anyhow::Result<()> {
    let path = container(name, "archive");
    let response = client.stream(Method::PUT, &path, &query, Some("application/x-tar"), Some(body)).await?;
    berth_client::collect(response.into_body()).await?;
    Ok(())
}

/// Where a link of the container points, as a path of the container.
fn resolve_link(path: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    let (parent, _) = parent_and_name(path.trim_end_matches('/'));
    format!("{}/{target}", parent.trim_end_matches('/'))
}

fn parent_and_name(path: &str) -> (String, String) {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    (if parent.is_empty() { "/".to_owned() } else { parent.to_owned() }, name.to_owned())
}

fn base_name(path: &Path) -> anyhow::Result<String> {
    let whole = fs::canonicalize(path).ok().filter(|_| path.file_name().is_none()).unwrap_or_else(|| path.to_owned());
    let name = whole.file_name().context("the source has no name")?;
    name.to_str().map(str::to_owned).with_context(|| format!("the name of {} is not UTF-8", path.display()))
}

/// Where a download goes.
struct Destination {
    /// An existing folder.
    folder: PathBuf,
    /// The name that the archive's top gets there; `None`: its own. `.`: what is in it goes into the folder.
    name: Option<String>,
}

fn plan(target: &Path, text: &str, source_is_dir: bool, contents: bool) -> anyhow::Result<Destination> {
    if target.is_dir() {
        return Ok(Destination { folder: target.to_owned(), name: contents.then(|| ".".to_owned()) });
    }
    let exists = fs::symlink_metadata(target).is_ok();
    ensure!(!(exists && source_is_dir), "cannot copy directory: {text} is a file");
    ensure!(source_is_dir || !text.ends_with('/'), "no such directory: {text}");
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(parent.is_dir(), "no such directory: {}", parent.display());
    if contents {
        fs::create_dir(target).with_context(|| format!("create {text}"))?;
        return Ok(Destination { folder: target.to_owned(), name: Some(".".to_owned()) });
    }
    let name = target.file_name().and_then(|name| name.to_str()).context("the destination has no name")?;
    Ok(Destination { folder: parent.to_owned(), name: Some(name.to_owned()) })
}

/// Unpacks into a private folder beside the destination first, where nobody can swap folders for links meanwhile, and
/// moves the result to its place.
async fn receive(body: Incoming, to: Destination, keep_owners: bool) -> anyhow::Result<()> {
    let (mut reader, pump) = body_reader(body);
    let unpack = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        let staging = tempfile::Builder::new()
            .prefix(".berth-cp-")
            .tempdir_in(&to.folder)
            .with_context(|| format!("make a folder in {}", to.folder.display()))?;
        let root = RootDir::open(staging.path()).context("open the folder to unpack into")?;
        let own = (rustix::process::geteuid(), rustix::process::getegid());
        let options = FilesOptions {
            keep_kinds: false,
            owner: (!keep_owners).then(|| (own.0.as_raw(), own.1.as_raw())),
            map: None,
            // Devices and attributes that are not ours to make are left out.
            in_user_namespace: true,
        };
        unpack_files(&mut reader, root, Path::new(""), options).context("unpack the container's files")?;
        for entry in fs::read_dir(staging.path())? {
            let entry = entry?;
            let target = match to.name.as_deref() {
                Some(name) if name != "." => to.folder.join(name),
                _ => to.folder.join(entry.file_name()),
            };
            merge(&entry.path(), &target)?;
        }
        Ok(())
    });
    let (_, unpacked) = tokio::join!(pump, unpack);
    unpacked.context("copy files")?
}

/// Moves a file, or a folder into what is there already.
fn merge(from: &Path, to: &Path) -> anyhow::Result<()> {
    let moved = || format!("write {}", to.display());
    let is_dir = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    match (is_dir(from), is_dir(to)) {
        (true, true) => {
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                merge(&entry.path(), &to.join(entry.file_name()))?;
            }
            Ok(())
        }
        (false, true) => bail!("cannot overwrite directory {} with non-directory", to.display()),
        (true, false) if fs::symlink_metadata(to).is_ok() => {
            bail!("cannot overwrite non-directory {} with directory", to.display())
        }
        _ => fs::rename(from, to).with_context(moved),
    }
}

/// Packs a local file or folder under the name `base`; `.`: what is in it.
fn send(source: &Path, base: &str, keep_owners: bool, follow: bool, mut writer: BodyWriter) {
    match pack(source, base, keep_owners, follow, &mut writer) {
        Ok(()) => {}
        Err(error) => writer.fail(std::io::Error::other(berth_arch::message::chain(error.as_ref()))),
    }
}

fn pack(source: &Path, base: &str, keep_owners: bool, follow: bool, out: &mut BodyWriter) -> anyhow::Result<()> {
    let look = || format!("look at {}", source.display());
    // Of links, only the one that was named may be followed, as `cp -H` does.
    let bytes = source.as_os_str().as_bytes();
    let follow = follow || source.file_name().is_none() || bytes.ends_with(b"/") || bytes.ends_with(b"/.");
    let path = if follow { fs::canonicalize(source) } else { std::path::absolute(source) }.with_context(look)?;
    let root = RootDir::open(path.parent().unwrap_or(Path::new("/"))).with_context(look)?;
    let own = Path::new(path.file_name().unwrap_or_default());
    let name = Path::new(if base == "." { "" } else { base });
    let owners = if keep_owners { Owners::AsTheyAre } else { Owners::All((0, 0)) };
    pack_path(&root, own, name, owners, out).with_context(|| format!("send {}", source.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_told_from_local_paths() {
        assert_eq!(split("web:/etc"), (Some("web"), "/etc"));
        for local in ["/a:b", "./a:b", "file", "-"] {
            assert_eq!(split(local), (None, local));
        }
    }

    #[test]
    fn links_are_resolved_inside_the_container() {
        assert_eq!(resolve_link("/a/link", "target"), "/a/target");
        assert_eq!(resolve_link("/link", "/other"), "/other");
    }
}
