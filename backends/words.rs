//! A program and its words, as execve(2) takes them.

use std::ffi::CString;
use std::io;

use rustix::io::Errno;

use crate::{Error, Result};

/// What to try, in order: the program itself if it has a slash, else one for each entry of the environment's PATH.
pub(crate) fn candidates(program: &str, environment: &[String]) -> Result<Vec<CString>> {
    if program.is_empty() || program.contains('/') {
        return c_strings(vec![program.to_owned()], "program");
    }
    let path = environment.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or_default();
    // An empty entry would be the working directory (execvp(3)); Go's exec, and so Docker, leaves it out.
    let entries = path.split(':').filter(|entry| !entry.is_empty());
    c_strings(entries.map(|entry| format!("{entry}/{program}")).collect(), "program")
}

pub(crate) fn c_strings(words: Vec<String>, what: &str) -> Result<Vec<CString>> {
    let c_string = |word: String| {
        CString::new(word).map_err(|error| {
            let word = String::from_utf8_lossy(&error.into_vec()).into_owned();
            Error::InvalidArgument(format!("{what} {word:?}: it holds a NUL byte"))
        })
    };
    words.into_iter().map(c_string).collect()
}

/// What the user is told when the program could not be executed, in the words that Docker uses.
pub(crate) fn exec_error(program: &str, errno: Errno) -> Error {
    let searched = !program.contains('/');
    let source = match errno {
        Errno::NOENT if searched => io::Error::new(io::ErrorKind::NotFound, "executable file not found in $PATH"),
        Errno::NOENT => {
            let words = format!("stat {program}: no such file or directory");
            io::Error::new(io::ErrorKind::NotFound, words)
        }
        Errno::ACCESS | Errno::PERM => io::Error::new(io::ErrorKind::PermissionDenied, "permission denied"),
        Errno::NOEXEC => io::Error::other("exec format error"),
        Errno::NOTDIR => io::Error::new(io::ErrorKind::NotADirectory, "not a directory"),
        Errno::TOOBIG => io::Error::new(io::ErrorKind::ArgumentListTooLong, "argument list too long"),
        other => other.into(),
    };
    Error::Exec { program: program.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_a_slash_is_looked_for_along_the_last_path() {
        let environment = ["PATH=/x".to_owned(), "PATH=/bin::/usr/bin".to_owned()];
        let found = candidates("sh", &environment).unwrap();
        assert_eq!(found, [c"/bin/sh".to_owned(), c"/usr/bin/sh".to_owned()]);
    }

    #[test]
    fn a_program_with_a_slash_is_taken_as_it_is() {
        assert_eq!(candidates("./sh", &[]).unwrap(), [c"./sh".to_owned()]);
    }
}
