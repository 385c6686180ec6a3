//! One line of `json-file`, byte for byte as Docker's encoder writes it (moby: daemon/logger/jsonfilelog/jsonlog).

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// The time in RFC 3339 with as many decimals as needed. The date is only worked out when the second changes.
#[derive(Default)]
pub(crate) struct Stamp {
    second: u64,
    date: String,
    text: String,
}

pub(super) fn stamp(clock: &mut Stamp) -> &str {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if clock.date.is_empty() || clock.second != now.as_secs() {
        clock.second = now.as_secs();
        let time =
            i64::try_from(now.as_secs()).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()).unwrap_or_default();
        clock.date = time.to_string();
        clock.date.truncate("2000-01-01T00:00:00".len());
    }
    clock.text.clear();
    clock.text.push_str(&clock.date);
    if now.subsec_nanos() != 0 {
        let _ = write!(clock.text, ".{:09}", now.subsec_nanos());
        clock.text.truncate(clock.text.trim_end_matches('0').len());
    }
    clock.text.push('Z');
    &clock.text
}

const STREAMS: [&[u8]; 2] = [b",\"stream\":\"stdout\"", b",\"stream\":\"stderr\""];

/// `attributes` is empty or `,"attrs":{...}`.
pub(super) fn line(out: &mut Vec<u8>, text: &[u8], newline: bool, stream: usize, attributes: &[u8], time: &str) {
    if text.is_empty() && !newline {
        return;
    }
    out.extend_from_slice(b"{\"log\":\"");
    string(out, text);
    out.extend_from_slice(if newline { b"\\n\"" } else { b"\"" });
    out.extend_from_slice(STREAMS[stream]);
    out.extend_from_slice(attributes);
    out.extend_from_slice(b",\"time\":\"");
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

const PLAIN: u8 = 0;
const ESCAPED: u8 = 1;
const LEAD: u8 = 2;

const CLASS: [u8; 256] = {
    let mut class = [PLAIN; 256];
    let mut byte = 0;
    while byte < 256 {
        if byte < 0x20 || matches!(byte as u8, b'"' | b'\\' | b'<' | b'>' | b'&') {
            class[byte] = ESCAPED;
        } else if byte >= 0x80 {
            class[byte] = LEAD;
        }
        byte += 1;
    }
    class
};

/// The inside of a JSON string. Bytes that are not UTF-8 become U+FFFD, one each.
pub(super) fn string(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut rest = text;
    while let Some(&first) = rest.first() {
        match CLASS[usize::from(first)] {
            PLAIN => {
                let run = rest.iter().position(|&byte| CLASS[usize::from(byte)] != PLAIN).unwrap_or(rest.len());
                out.extend_from_slice(&rest[..run]);
                rest = &rest[run..];
            }
            ESCAPED => {
                match first {
                    b'"' | b'\\' => out.extend_from_slice(&[b'\\', first]),
                    b'\n' => out.extend_from_slice(b"\\n"),
                    b'\r' => out.extend_from_slice(b"\\r"),
                    _ => {
                        let (high, low) = (HEX[usize::from(first >> 4)], HEX[usize::from(first & 15)]);
                        out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
                    }
                }
                rest = &rest[1..];
            }
            _ => {
                let length = character(rest);
                match &rest[..length] {
                    [_] => out.extend_from_slice(b"\\ufffd"),
                    // JavaScript takes these two for ends of lines.
                    [0xe2, 0x80, 0xa8] => out.extend_from_slice(b"\\u2028"),
                    [0xe2, 0x80, 0xa9] => out.extend_from_slice(b"\\u2029"),
                    valid => out.extend_from_slice(valid),
                }
                rest = &rest[length..];
            }
        }
    }
}

/// The length of the character of several bytes that `text` begins with; 1 when it begins with none. The ranges are
/// those of the Unicode standard, table 3-7.
fn character(text: &[u8]) -> usize {
    let continues = |at: usize| text.get(at).is_some_and(|byte| (0x80..=0xbf).contains(byte));
    let second = |range: std::ops::RangeInclusive<u8>| text.get(1).is_some_and(|byte| range.contains(byte));
    match text[0] {
        0xc2..=0xdf if continues(1) => 2,
        0xe0 if second(0xa0..=0xbf) && continues(2) => 3,
        0xe1..=0xec | 0xee..=0xef if continues(1) && continues(2) => 3,
        0xed if second(0x80..=0x9f) && continues(2) => 3,
        0xf0 if second(0x90..=0xbf) && continues(2) && continues(3) => 4,
        0xf1..=0xf3 if continues(1) && continues(2) && continues(3) => 4,
        0xf4 if second(0x80..=0x8f) && continues(2) && continues(3) => 4,
        _ => 1,
    }
}
