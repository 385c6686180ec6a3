//! Signals by name, with Linux's numbers (the same on every architecture berth is made for), or FreeBSD's there.

#[cfg(target_os = "freebsd")]
use crate::freebsd::signals::{RTMAX, RTMIN, SIGNALS};

#[cfg(target_os = "linux")]
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

pub const SIGTERM: i32 = 15;
pub const SIGKILL: i32 = 9;
/// What programs see as SIGRTMIN (the C library keeps 32 and 33) and SIGRTMAX.
#[cfg(target_os = "linux")]
const RTMIN: i32 = 34;
#[cfg(target_os = "linux")]
const RTMAX: i32 = 64;

/// `15`, `TERM`, `sigterm`, `RTMIN+3`, `SIGRTMAX-1`; `None` for anything else.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let number = match name {
        "RTMIN" => Some(RTMIN),
        "RTMAX" => Some(RTMAX),
        _ => {
            let plus = name.strip_prefix("RTMIN+").and_then(|more| more.parse::<u8>().ok());
            let minus = name.strip_prefix("RTMAX-").and_then(|less| less.parse::<u8>().ok());
            plus.map(|more| RTMIN + i32::from(more)).or(minus.map(|less| RTMAX - i32::from(less)))
        }
    };
    number.filter(|number| (RTMIN..=RTMAX).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_understood() {
        for (text, number) in
            [("9", 9), ("KILL", 9), ("sigterm", 15), ("SIGRTMIN", 34), ("RTMIN+3", 37), ("SIGRTMAX-14", 50)]
        {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for bad in ["", "0", "65", "-1", "SIGFOO", "RTMIN+31", "RTMAX-31"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
