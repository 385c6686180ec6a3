//! The container as files, and from files: what the backend does with criu, and what is on disk when somebody is killed
//! meanwhile.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use berth_arch::process::Stat;
use berth_backends::{Bundle, Checkpoint, RESTORE_MOUNTS, Sandbox, Stdio};

use super::Monitor;
use super::clients::Mode;
use super::launch::refusal;
use super::requests::refuse;
use crate::protocol::{Refusal, RefusalKind, Response};

/// What a restore needs for a moment, in the run folder.
const WORK: &str = "restore";

impl Monitor {
    /// Answers when the checkpoint is there, and the container has ended if it is to. Nothing else is done meanwhile: the
    /// container stands still.
    pub(super) fn checkpoint(&mut self, index: usize, place: &Path, options: Checkpoint) {
        let stays = options.leave_running;
        match self.try_checkpoint(place, options) {
            Ok(()) if !stays && self.is_running() => self.clients[index].mode = Mode::Stopping,
            Ok(()) => self.respond(index, &Response::Done),
            Err(refusal) => self.respond(index, &Response::Refused(refusal)),
        }
    }

    fn try_checkpoint(&mut self, place: &Path, options: Checkpoint) -> Result<(), Refusal> {
        self.must_run_unfrozen()?;
        if self.executions.iter().any(|execution| execution.is_running()) {
            let message = format!(
                "checkpoint of container {}: a program of exec runs in it, which would be lost; end it first",
                self.config.id.short()
            );
            return Err(refuse(RefusalKind::Conflict, message));
        }
        let Some(sandbox) = &self.sandbox else { return Err(self.not_running()) };
        let checkpointer = sandbox.checkpointer().ok_or_else(|| self.no_checkpoints())?;
        let failed =
            |error: io::Error| refuse(RefusalKind::Failed, format!("make the checkpoint {}: {error}", place.display()));
        let mut part = Part::new(place).map_err(failed)?;
        let stays = options.leave_running;
        let to = Checkpoint { images: part.hidden.clone(), ..options };
        // The end that follows is wanted: no restart policy takes it for another one.
        let by_user = self.state.stopped_by_user;
        self.state.stopped_by_user |= !stays;
        let written = checkpointer.checkpoint(&to, &mut || part.finish(place)).map_err(|error| refusal(&error));
        let has_ended = || Stat::read(sandbox.pid()).map_or(true, |stat| stat.has_ended());
        match written {
            // A criu that ended before it could answer: what was asked for is done, and what is at the place all that is left.
            Err(_) if !stays && part.placed.is_some() && has_ended() => {}
            Err(refusal) => {
                self.state.stopped_by_user = by_user;
                return Err(refusal);
            }
            Ok(()) => {}
        }
        part.keep();
        self.save_state();
        self.event("checkpoint", &[]);
        Ok(())
    }

    fn no_checkpoints(&self) -> Refusal {
        let message = format!(
            "checkpoint: the {} backend cannot write its containers to files, nor take them up again; use the backend namespace",
            self.config.backend
        );
        refuse(RefusalKind::InvalidArgument, message)
    }

    /// As [`berth_backends::Backend::create`], or, at the first start after it was asked for, from a checkpoint.
    pub(super) fn create(&mut self, bundle: &Bundle, io: Stdio) -> Result<Box<dyn Sandbox>, Refusal> {
        let Some(from) = self.config.restore.take() else {
            return self.backend.create(&self.config.id, bundle, io).map_err(|error| refusal(&error));
        };
        let restorer = self.backend.restorer().ok_or_else(|| self.no_checkpoints())?;
        let work = self.config.run_folder.join(WORK);
        private(&work).map_err(|error| refuse(RefusalKind::Failed, format!("make {}: {error}", work.display())))?;
        let from = Checkpoint { work: Some(work), ..from };
        restorer.restore(&self.config.id, bundle, io, &from).map_err(|error| refusal(&error))
    }

    /// After a start from a checkpoint, whatever came of it.
    pub(super) fn forget_restore(&self) {
        forget(&self.config.run_folder.join(WORK));
    }
}

/// Volumes were bound below [`RESTORE_MOUNTS`]: what is there then still is a user's, and stays.
fn forget(work: &Path) {
    match std::fs::remove_dir(work.join(RESTORE_MOUNTS)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {}
        _ => drop(std::fs::remove_dir_all(work)),
    }
}

fn private(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A checkpoint that is being written, beside its place; it is removed unless it is kept.
struct Part {
    hidden: PathBuf,
    placed: Option<PathBuf>,
}

impl Part {
    fn new(place: &Path) -> io::Result<Self> {
        let (Some(folder), Some(name)) = (place.parent(), place.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        private(folder)?;
        // No checkpoint's name begins with a dot.
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".part");
        let part = folder.join(hidden);
        match std::fs::remove_dir_all(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::DirBuilder::new().mode(0o700).create(&part)?;
        Ok(Self { hidden: part, placed: None })
    }

    /// The processes end after that: the files outlive a power cut from now on.
    fn finish(&mut self, place: &Path) -> io::Result<()> {
        rustix::fs::syncfs(&File::open(&self.hidden)?)?;
        if place.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        std::fs::rename(&self.hidden, place)?;
        self.placed = Some(place.to_owned());
        place.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    /// What has been placed.
    fn keep(mut self) {
        self.placed = None;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Nobody is to find half of it.
        if let Some(place) = &self.placed {
            let _ = std::fs::rename(place, &self.hidden);
        }
        let _ = std::fs::remove_dir_all(&self.hidden);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_at_its_place_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("berth-checkpoints-{}", std::process::id()));
        let place = folder.join("checkpoints/one");
        let part = Part::new(&place).unwrap();
        std::fs::write(part.hidden.join("pages.img"), b"x").unwrap();
        drop(part);
        assert_eq!(std::fs::read_dir(folder.join("checkpoints")).unwrap().count(), 0);
        // What somebody who was killed has left is no hindrance.
        std::mem::forget(Part::new(&place).unwrap());
        let mut part = Part::new(&place).unwrap();
        std::fs::write(part.hidden.join("pages.img"), b"y").unwrap();
        part.finish(&place).unwrap();
        part.keep();
        assert_eq!(std::fs::read(place.join("pages.img")).unwrap(), b"y");
        let mut again = Part::new(&place).unwrap();
        assert_eq!(again.finish(&place).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop(again);
        // One that has failed after that is none.
        let other = folder.join("checkpoints/two");
        let mut part = Part::new(&other).unwrap();
        part.finish(&other).unwrap();
        drop(part);
        assert_eq!(std::fs::read_dir(folder.join("checkpoints")).unwrap().count(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_still_mounted_for_a_restore_stays() {
        let work = std::env::temp_dir().join(format!("berth-restore-{}", std::process::id()));
        let of_a_user = work.join(RESTORE_MOUNTS).join("0/file");
        std::fs::create_dir_all(of_a_user.parent().unwrap()).unwrap();
        std::fs::write(&of_a_user, "x").unwrap();
        forget(&work);
        assert!(of_a_user.exists());
        std::fs::remove_dir_all(work.join(RESTORE_MOUNTS)).unwrap();
        std::fs::write(work.join("restore.log"), "").unwrap();
        forget(&work);
        assert!(!work.exists());
    }
}
