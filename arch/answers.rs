//! Answers of expensive trials (those that fork or start programs), kept until the next boot.
//!
//! Only what worked is kept: what did not is tried again each time, so that a remedy takes effect at once. An answer is for the
//! same boot, kernel, program, user, rights and user namespace, and for whatever else the trial says that it depends on. With
//! anything pretended away nothing is read and nothing is kept. The file is no authority: what is wrong with it makes it as if it
//! were not there, and what an answer leads to is tried by whoever does it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;

use crate::{Probe, kernel_file, pretend};

/// In a run folder.
const FILE: &str = "answers";
/// Bytes; a whole one has a few hundred.
const LARGEST: u64 = 256 * 1024;

#[derive(Default)]
struct Known {
    /// Where they are kept, if that was said.
    file: Option<PathBuf>,
    loaded: bool,
    /// By name: on what it depends, and what was found.
    answers: BTreeMap<String, (String, String)>,
}

static KNOWN: Mutex<Known> = Mutex::new(Known { file: None, loaded: false, answers: BTreeMap::new() });

fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps them in the run folder `folder` from here on. Nothing is read before the first trial.
pub fn keep_in(folder: &Path) {
    let mut known = known();
    let file = folder.join(FILE);
    if known.file.as_ref() != Some(&file) {
        *known = Known { file: Some(file), ..Known::default() };
    }
}

/// Forgets all of them, in the file too.
pub fn forget() {
    let mut known = known();
    known.answers.clear();
    known.loaded = true;
    if let Some(file) = &known.file {
        let _ = std::fs::remove_file(file);
    }
}

/// What `trial` found here once, or finds now. `depends` is what the answer depends on beside the host and who asks; it may not
/// have tabs or line breaks.
pub fn remembered(name: &str, depends: &str, trial: impl FnOnce() -> Probe<String>) -> Probe<String> {
    if pretend::anything() {
        return trial();
    }
    {
        let mut known = known();
        known.load();
        if let Some((on, answer)) = known.answers.get(name)
            && on == depends
        {
            return Probe::available(answer.clone());
        }
    }
    let found = trial();
    if let Probe::Available { detail } = &found
        && [name, depends, detail].iter().all(|text| !text.contains(['\t', '\n']))
    {
        let mut known = known();
        known.answers.insert(name.to_owned(), (depends.to_owned(), detail.clone()));
        known.save();
    }
    found
}

impl Known {
    fn load(&mut self) {
        if !std::mem::replace(&mut self.loaded, true)
            && let Some(file) = &self.file
            && let Some(text) = read(file)
        {
            self.answers = parse(&text, &here()).unwrap_or_default();
        }
    }

    /// Whole or not at all. What cannot be kept is found again.
    fn save(&self) {
        let Some(file) = &self.file else { return };
        let new = file.with_extension(std::process::id().to_string());
        let options = OFlags::NOFOLLOW.bits().cast_signed();
        let opened = File::options().write(true).create_new(true).mode(0o600).custom_flags(options).open(&new);
        let Ok(mut opened) = opened else { return };
        let written = opened.write_all(print(&self.answers, &here()).as_bytes());
        if written.and_then(|()| std::fs::rename(&new, file)).is_err() {
            let _ = std::fs::remove_file(&new);
        }
    }
}

/// A plain file of this very user's that nobody else writes to.
fn read(file: &Path) -> Option<String> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let opened = File::options().read(true).custom_flags(flags).open(file).ok()?;
    let found = opened.metadata().ok()?;
    let ours = found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0;
    if !found.is_file() || !ours || found.len() > LARGEST {
        return None;
    }
    let mut text = String::new();
    opened.take(LARGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// `WORLD`, `NAME<tab>DEPENDS<tab>ANSWER` each, and the number of them.
fn print(answers: &BTreeMap<String, (String, String)>, world: &str) -> String {
    let mut text = format!("{world}\n");
    for (name, (depends, answer)) in answers {
        let _ = writeln!(text, "{name}\t{depends}\t{answer}");
    }
    let _ = writeln!(text, "{}", answers.len());
    text
}

/// `None` if it is of another world, or not whole.
fn parse(text: &str, world: &str) -> Option<BTreeMap<String, (String, String)>> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next()? != world {
        return None;
    }
    let count: usize = lines.next_back()?.parse().ok()?;
    let mut answers = BTreeMap::new();
    for line in lines {
        let mut fields = line.split('\t');
        let (name, depends, answer) = (fields.next()?, fields.next()?, fields.next()?);
        if fields.next().is_some() {
            return None;
        }
        answers.insert(name.to_owned(), (depends.to_owned(), answer.to_owned()));
    }
    (answers.len() == count).then_some(answers)
}

/// What every answer depends on: boot, kernel, program, user, rights, user namespace, and the seccomp filters around us.
fn here() -> String {
    let line = |path: &str| kernel_file::read_to_string(path).unwrap_or_default().trim().to_owned();
    let name = rustix::system::uname();
    let user = crate::host::User::detect();
    let namespace = std::fs::read_link("/proc/self/ns/user").unwrap_or_default();
    let filters = match rustix::thread::secure_computing_mode() {
        Ok(rustix::thread::SecureComputingMode::Disabled) => String::new(),
        _ => {
            let status = kernel_file::read_to_string("/proc/self/status").unwrap_or_default();
            status.lines().filter(|line| line.starts_with("Seccomp")).collect::<String>().replace('\t', " ")
        }
    };
    let fields = [
        env!("CARGO_PKG_VERSION").to_owned(),
        program(),
        line("/proc/sys/kernel/random/boot_id"),
        name.release().to_string_lossy().into_owned(),
        name.version().to_string_lossy().into_owned(),
        format!("{}:{}:{:x}", user.uid, user.gid, user.effective_capabilities),
        namespace.display().to_string(),
        filters,
    ];
    fields.join("\t").replace('\n', " ")
}

/// Its file, by what a build changes: versions of one number differ while they are made. The monitor runs from a view of the
/// same file.
fn program() -> String {
    std::fs::metadata("/proc/self/exe")
        .map_or_else(|_| String::new(), |found| format!("{}:{}", found.len(), found.mtime()))
}

/// What tells a program's file from another one that is put in its place.
pub fn identity(program: &Path) -> String {
    match std::fs::metadata(program) {
        Ok(found) => format!(
            "{}:{}:{}:{}.{}:{}.{}",
            found.dev(),
            found.ino(),
            found.len(),
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec()
        ),
        Err(_) => String::new(),
    }
}

/// As [`remembered`], of a list of names.
pub fn remembered_list(name: &str, depends: &str, trial: impl FnOnce() -> Probe<Vec<String>>) -> Probe<Vec<String>> {
    let list = |text: String| text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    remembered(name, depends, || trial().map(|names| names.join(","))).map(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of this process are one for all tests: one test.
    #[test]
    fn what_worked_is_kept_and_no_file_is_believed_that_is_not_ours_and_whole() {
        let folder = std::env::temp_dir().join(format!("berth-answers-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join(FILE);
        let again = || {
            keep_in(Path::new("/nowhere"));
            keep_in(&folder);
        };
        let ask = |depends: &str, answer: &str| remembered("test", depends, || Probe::available(answer.to_owned()));
        let said = |text: &str| Probe::available(text.to_owned());
        let no = || Probe::unavailable("no", "");
        keep_in(&folder);
        assert_eq!(remembered("test", "", no), no());
        assert!(!file.exists(), "what failed is not kept");
        assert_eq!(ask("a", "first"), said("first"));
        again();
        assert_eq!(ask("a", "second"), said("first"));
        assert_eq!(ask("b", "third"), said("third"), "it depends on something else");
        again();
        assert_eq!(ask("b", "fourth"), said("third"));
        let whole = std::fs::read_to_string(&file).unwrap();
        let world = whole.lines().next().unwrap();
        let other_boot = whole.replacen(world, &world.replace('-', "+"), 1);
        let more = whole.replace("\tthird", "\tthird\tfourth");
        for (what, text) in [
            ("torn", &whole[..whole.len() - 3]),
            ("another boot's", &other_boot),
            ("odd", &more),
            ("empty", ""),
            ("noise", "\u{0}\n\n"),
        ] {
            std::fs::write(&file, text).unwrap();
            again();
            assert_eq!(ask("b", "found anew"), said("found anew"), "{what}");
            again();
            assert_eq!(ask("b", "no"), said("found anew"), "{what}: it is written again");
        }
        let elsewhere = folder.join("elsewhere");
        std::fs::write(&elsewhere, whole.replace("third", "planted")).unwrap();
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        again();
        assert_eq!(ask("b", "own"), said("own"), "a link is not followed");
        assert!(
            std::fs::symlink_metadata(&file).unwrap().is_file()
                && std::fs::read_to_string(&elsewhere).unwrap().contains("planted")
        );
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        again();
        assert_eq!(ask("b", "mine"), said("mine"), "others could have written it");
        forget();
        assert!(!file.exists());
        assert_eq!(ask("b", "after"), said("after"));
        std::fs::remove_dir_all(&folder).unwrap();
        keep_in(Path::new("/nowhere"));
    }
}
