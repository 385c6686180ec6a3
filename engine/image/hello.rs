//! The embedded image: berth's own program, so that there is something to run on a machine that has nothing else.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use berth_store::rusqlite::Connection;

use crate::images::{self, NewImage};
use crate::layers::Chain;
use crate::{
    Error, History, Image, ImageConfig, ImageId, ImageStore, ImageUser, Reference, RemoveOptions, Result, RootFs,
    RunConfig,
};

/// The name that stands for the embedded image.
pub const HELLO: &str = "berth/hello";
/// The program inside it; it is called with `hello` as its first argument.
pub const HELLO_PROGRAM: &str = "/berth";
/// Says which program the image was made of.
const LABEL: &str = "berth.program";
const EXECUTABLE: &str = "/proc/self/exe";
/// Mount points, so that a read-only container has them.
const FOLDERS: &[&str] = &["dev/", "etc/", "proc/", "sys/", "tmp/"];

impl ImageStore {
    /// Makes `berth/hello:latest` of the running program unless it is there and of this very program. Returns
    /// whether `name` means the embedded image at all. An image of that name that somebody else made is left alone.
    pub fn ensure_hello(&self, name: &str) -> Result<bool> {
        let hello: Reference = format!("{HELLO}:latest").parse()?;
        if !name.contains(HELLO)
            || name.parse::<Reference>().ok().map(Reference::with_default_tag) != Some(hello.clone())
        {
            return Ok(false);
        }
        let at = |source| Error::Io { action: "read", path: EXECUTABLE.into(), source };
        let program = File::open(EXECUTABLE).map_err(at)?;
        let found = program.metadata().map_err(at)?;
        let version = env!("CARGO_PKG_VERSION");
        let mark = format!("{version} {}-{}.{}", found.len(), found.mtime(), found.mtime_nsec());
        let old = self.resolve_reference(&hello)?;
        if let Some(old) = &old {
            let label = old.config.config.labels.as_ref().and_then(|labels| labels.get(LABEL));
            if label.is_none_or(|label| *label == mark) {
                return Ok(true);
            }
        }
        self.make_hello(program, found.len(), mark, &hello)?;
        if let Some(old) = old {
            self.forget_hello(&old)?;
        }
        Ok(true)
    }

    fn make_hello(&self, program: File, length: u64, mark: String, reference: &Reference) -> Result<ImageId> {
        let at = |source| Error::Stream { action: "pack", object: "the embedded image".to_owned(), source };
        let mut head = tar::Builder::new(Vec::new());
        for folder in FOLDERS {
            let header = &mut header(tar::EntryType::Directory, 0);
            head.append_data(header, folder, &[][..]).map_err(at)?;
        }
        let mut file = header(tar::EntryType::Regular, length);
        file.set_path(HELLO_PROGRAM.trim_start_matches('/')).map_err(at)?;
        file.set_cksum();
        let mut head = std::mem::take(head.get_mut());
        head.extend_from_slice(file.as_bytes());
        let tail = vec![0; (512 - length % 512) as usize % 512 + 1024];
        let mut chain = Chain::new(self);
        let diff_id = chain.add(head.chain(program.take(length)).chain(&tail[..]))?;
        let created = Some(jiff::Timestamp::now().to_string());
        let config = ImageConfig {
            created: created.clone(),
            architecture: self.platform.architecture.clone(),
            variant: self.platform.variant.clone(),
            os: self.platform.os.clone(),
            config: RunConfig {
                cmd: Some(vec![HELLO_PROGRAM.to_owned(), "hello".to_owned()]),
                working_dir: "/".to_owned(),
                labels: Some([(LABEL.to_owned(), mark)].into()),
                ..RunConfig::default()
            },
            rootfs: RootFs { diff_ids: vec![diff_id], ..RootFs::default() },
            history: vec![History { created, created_by: Some("berth".to_owned()), ..History::default() }],
            ..ImageConfig::default()
        };
        let config = serde_json::to_vec(&config).map_err(|error| at(error.into()))?;
        chain.settle(|transaction, layer, size| {
            let id = images::insert(transaction, &NewImage { config: &config, layer, size, parent: None })?;
            images::set_tag(transaction, reference, &id)?;
            Ok(id)
        })
    }

    /// Removes an embedded image of an older program, unless something stands on it or it has another name.
    fn forget_hello(&self, old: &Image) -> Result<()> {
        let layer = old.layer;
        let users = |connection: &Connection, _: &ImageId| {
            let mut statement = connection.prepare_cached(
                "SELECT number FROM layers WHERE parent = ?1 AND number NOT IN (SELECT layer FROM given_layers)
                 UNION ALL SELECT number FROM layers WHERE parent IN (SELECT layer FROM given_layers WHERE base = ?1)",
            )?;
            let rows = statement.query_map([layer], |row| row.get::<_, i64>(0))?;
            let user = |number: Result<i64, _>| Ok(ImageUser { container: number?.to_string(), running: false });
            rows.map(user).collect::<Result<Vec<_>>>()
        };
        match self.store.read(|connection| images::tags_of(connection, &old.id))?.is_empty() {
            false => Ok(()),
            true => match self.remove(old.id.as_str(), RemoveOptions::default(), &users) {
                Err(Error::Conflict(_) | Error::NotFound(_)) => Ok(()),
                other => other.map(|_| ()),
            },
        }
    }
}

fn header(kind: tar::EntryType, length: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(length);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}
