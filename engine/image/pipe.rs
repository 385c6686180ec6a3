//! An archive that one thread writes and another reads.

use std::io::{ErrorKind, PipeReader, PipeWriter, Write};

use crate::{Error, Result};

/// `write` runs in a thread of its own, `read` in this one. Of two errors the one that came first is given: who stops
/// reading makes the writer complain of a broken pipe, and who stops writing makes the reader miss the rest.
pub(crate) fn piped<T>(
    write: impl FnOnce(&mut PipeWriter) -> Result<()> + Send,
    read: impl FnOnce(PipeReader) -> Result<T>,
) -> Result<T> {
    let stream = |action| move |source| Error::Stream { action, object: "a pipe".to_owned(), source };
    let (reader, mut writer) = std::io::pipe().map_err(stream("make"))?;
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            write(&mut writer)?;
            writer.flush().map_err(stream("write"))
        });
        let read = read(reader);
        let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (read, written) {
            (Err(error @ Error::Driver(berth_fs_drivers::Error::Io { .. })), _) => Err(error),
            (Err(error), Err(written)) if is_broken_pipe(&written) => Err(error),
            (_, Err(error)) => Err(error),
            (read, Ok(())) => read,
        }
    })
}

fn is_broken_pipe(error: &Error) -> bool {
    let kind = match error {
        Error::Driver(error) => error.io_kind(),
        Error::Stream { source, .. } => Some(source.kind()),
        _ => None,
    };
    kind == Some(ErrorKind::BrokenPipe)
}
