//! The options of ps(1) that choose a format. Which processes are shown is settled: those of the container.

use super::columns::{self, Show};
use crate::{Error, Result};

pub(super) struct Column {
    pub(super) title: String,
    pub(super) show: Show,
}

const FULL: &[(&str, &str)] = &[
    ("UID", "user"),
    ("PID", "pid"),
    ("PPID", "ppid"),
    ("C", "c"),
    ("STIME", "stime"),
    ("TTY", "tty"),
    ("TIME", "time"),
    ("CMD", "args"),
];
const SHORT: &[(&str, &str)] = &[("PID", "pid"), ("TTY", "tty"), ("TIME", "time"), ("CMD", "comm")];
const LONG: &[(&str, &str)] = &[
    ("S", "s"),
    ("UID", "uid"),
    ("PID", "pid"),
    ("PPID", "ppid"),
    ("C", "c"),
    ("PRI", "pri"),
    ("NI", "ni"),
    ("SZ", "vsz"),
    ("TTY", "tty"),
    ("TIME", "time"),
    ("CMD", "comm"),
];
const BSD: &[(&str, &str)] = &[("PID", "pid"), ("TTY", "tty"), ("STAT", "stat"), ("TIME", ""), ("COMMAND", "args")];
const BSD_USER: &[(&str, &str)] = &[
    ("USER", "user"),
    ("PID", "pid"),
    ("%CPU", "pcpu"),
    ("%MEM", "pmem"),
    ("VSZ", "vsz"),
    ("RSS", "rss"),
    ("TTY", "tty"),
    ("STAT", "stat"),
    ("START", "stime"),
    ("TIME", ""),
    ("COMMAND", "args"),
];

/// An empty name is the time in BSD's form.
fn column(title: &str, name: &str) -> Option<Column> {
    let show = if name.is_empty() { columns::minutes } else { columns::find(name)?.1 };
    Some(Column { title: title.to_owned(), show })
}

pub(super) fn parse(options: &str) -> Result<Vec<Column>> {
    let mut format = SHORT;
    let mut chosen: Vec<Column> = Vec::new();
    let mut words = options.split_ascii_whitespace().peekable();
    while let Some(word) = words.next() {
        if let Some(list) = word.strip_prefix("--format") {
            let list = list.strip_prefix('=').or_else(|| words.next());
            fields(list.unwrap_or_default(), &mut chosen)?;
            continue;
        }
        let unix = word.starts_with('-');
        let letters = word.trim_start_matches('-');
        if word.starts_with("--") || letters.is_empty() {
            return Err(unknown(word));
        }
        for (index, letter) in letters.char_indices() {
            match (letter, unix) {
                ('o', _) => {
                    let rest = &letters[index + 1..];
                    let list = if rest.is_empty() { words.next().unwrap_or_default() } else { rest };
                    fields(list, &mut chosen)?;
                    break;
                }
                // Which processes: always all of the container's, with and without a terminal.
                ('e' | 'A' | 'a' | 'd' | 'x', _) => {}
                // Wide output: nothing is cut off anyway.
                ('w', _) => {}
                // `-aux` is read as `aux`, as ps itself does where there is no user x.
                ('u', true) if letters.contains(['a', 'x']) => format = BSD_USER,
                ('f' | 'F', true) => format = FULL,
                ('l', true) => format = LONG,
                ('u', false) => format = BSD_USER,
                _ => return Err(unknown(word)),
            }
        }
        if !unix && std::ptr::eq(format, SHORT) {
            format = BSD;
        }
    }
    if chosen.is_empty() {
        return Ok(format.iter().filter_map(|(title, name)| column(title, name)).collect());
    }
    Ok(chosen)
}

/// `pid,user`, `pid=NUMBER`.
fn fields(list: &str, chosen: &mut Vec<Column>) -> Result<()> {
    if list.is_empty() {
        return Err(Error::InvalidArgument("ps option -o needs a list of fields".to_owned()));
    }
    for field in list.split(',') {
        let (name, title) = field.split_once('=').map_or((field, None), |(name, title)| (name, Some(title)));
        let Some((usual, show)) = columns::find(&name.to_ascii_lowercase()) else {
            let known: Vec<_> = columns::COLUMNS.iter().map(|(names, ..)| names[0]).collect();
            let message = format!("unknown ps field {name:?}: the known ones are {}", known.join(", "));
            return Err(Error::InvalidArgument(message));
        };
        chosen.push(Column { title: title.unwrap_or(usual).to_owned(), show });
    }
    Ok(())
}

fn unknown(word: &str) -> Error {
    Error::InvalidArgument(format!(
        "unsupported ps option {word:?}: berth reads /proc itself and understands -e -f -F -l -o FIELD,... and aux"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(options: &str) -> String {
        let columns = parse(options).unwrap_or_else(|error| panic!("{options}: {error}"));
        columns.into_iter().map(|column| column.title).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_usual_options_give_the_usual_columns() {
        assert_eq!(titles("-ef"), "UID PID PPID C STIME TTY TIME CMD");
        assert_eq!(titles("-e -f"), titles("-ef"));
        for options in ["aux", "-aux", "auxww"] {
            assert_eq!(titles(options), "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND", "{options}");
        }
        assert_eq!(titles("ax"), "PID TTY STAT TIME COMMAND");
        assert_eq!(titles("-e"), "PID TTY TIME CMD");
        assert_eq!(titles("-o pid,user -o args"), "PID USER COMMAND");
        assert_eq!(titles("-eo pid,comm=NAME"), "PID NAME");
        assert_eq!(titles("-opid"), "PID");
        assert_eq!(titles("--format=pid"), "PID");
    }

    #[test]
    fn every_column_can_be_had() {
        for (names, ..) in columns::COLUMNS {
            for name in *names {
                assert!(parse(&format!("-o {name}")).is_ok(), "{name}");
            }
        }
        for format in [FULL, SHORT, LONG, BSD, BSD_USER] {
            assert!(format.iter().all(|(title, name)| column(title, name).is_some()));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_name() {
        for options in ["-o nonsense", "-o", "--forest", "-p 1", "-", "-u root"] {
            assert!(matches!(parse(options), Err(Error::InvalidArgument(_))), "{options}");
        }
    }
}
