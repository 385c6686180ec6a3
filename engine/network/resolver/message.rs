//! Messages of RFC 1035 (4.1) with the extension of RFC 6891, as far as one who answers for hosts and passes on the rest
//! needs them: the header, the one question, and whether there is an OPT record. Everything comes from strangers: what
//! is not exactly what it says it is, is refused, and no length is believed before it has been looked at.

use std::net::IpAddr;

pub(super) const HEADER: usize = 12;
/// Of a message over UDP whose sender says nothing else (RFC 1035, 2.3.4); and of ours at most.
pub(super) const PLAIN: usize = 512;
const MOST: usize = 4096;
/// Of a message over TCP.
pub(super) const LONGEST: usize = u16::MAX as usize;
/// How long a found address may be remembered, in seconds, as Docker's.
const TTL: u32 = 600;

pub(super) const A: u16 = 1;
pub(super) const PTR: u16 = 12;
pub(super) const AAAA: u16 = 28;
const OPT: u16 = 41;
pub(super) const ANY: u16 = 255;
const IN: u16 = 1;

const RESPONSE: u16 = 1 << 15;
const OPCODE: u16 = 0xF << 11;
const TRUNCATED: u16 = 1 << 9;
const RECURSION_DESIRED: u16 = 1 << 8;
const RECURSION_AVAILABLE: u16 = 1 << 7;
/// "Checking disabled" is copied from the question (RFC 4035, 3.2.2).
const CHECKING_DISABLED: u16 = 1 << 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NotImplemented = 4,
    Refused = 5,
    /// The version of OPT: its upper bits are in that record (RFC 6891, 6.1.3).
    BadVersion = 16,
}

/// A question, as far as it was understood.
#[derive(Debug)]
pub(super) struct Query<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) id: u16,
    flags: u16,
    /// Where the question ends; it begins after the header.
    end: usize,
    /// In lower case, without the root's dot; None if it is not made of what host names are made of.
    pub(super) name: Option<String>,
    pub(super) kind: u16,
    class: u16,
    /// What OPT says of the size, and its version.
    edns: Option<(u16, u8)>,
}

/// Why a message is no question of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Nobody is to be answered: it is no question, or not even a header.
    Silently,
    /// With this message.
    Answered(Vec<u8>),
}

impl<'a> Query<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Refused> {
        let (Some(id), Some(flags)) = (u16_at(bytes, 0), u16_at(bytes, 2)) else { return Err(Refused::Silently) };
        if bytes.len() < HEADER || flags & RESPONSE != 0 {
            return Err(Refused::Silently);
        }
        let refused = |code| Err(Refused::Answered(header(id, answered(flags), code, [0; 4])));
        if flags & OPCODE != 0 {
            return refused(Code::NotImplemented);
        }
        Self::parse_body(bytes, id, flags).map_or_else(|| refused(Code::FormatError), Ok)
    }

    fn parse_body(bytes: &'a [u8], id: u16, flags: u16) -> Option<Self> {
        let [questions, answers, authorities, additional] = counts(bytes)?;
        if (questions, answers, authorities) != (1, 0, 0) {
            return None;
        }
        let (name, at) = question_name(bytes)?;
        let (kind, class, end) = (u16_at(bytes, at)?, u16_at(bytes, at + 2)?, at + 4);
        let mut edns = None;
        let mut at = end;
        // Each record takes eleven octets at least, so a count that lies ends at the message's end.
        for _ in 0..additional {
            let is_root = bytes.get(at) == Some(&0);
            at = skip_name(bytes, at)?;
            let (kind, size, version) = (u16_at(bytes, at)?, u16_at(bytes, at + 2)?, *bytes.get(at + 5)?);
            at += 10 + usize::from(u16_at(bytes, at + 8)?);
            if at > bytes.len() {
                return None;
            }
            if kind == OPT && (!is_root || edns.replace((size, version)).is_some()) {
                return None;
            }
        }
        (at == bytes.len()).then_some(Self { bytes, id, flags, end, name, kind, class, edns })
    }

    pub(super) fn is_internet(&self) -> bool {
        self.class == IN || self.class == ANY
    }

    pub(super) fn has_known_version(&self) -> bool {
        self.edns.is_none_or(|(_, version)| version == 0)
    }

    /// Of an answer over UDP.
    pub(super) fn room(&self) -> usize {
        self.edns.map_or(PLAIN, |(size, _)| usize::from(size).clamp(PLAIN, MOST))
    }

    /// An answer without records.
    pub(super) fn answer(&self, code: Code) -> Vec<u8> {
        self.with_records(code, &[], LONGEST)
    }

    /// An answer that says that it is longer than fits.
    pub(super) fn truncated(&self) -> Vec<u8> {
        let mut message = self.answer(Code::NoError);
        message[2] |= (TRUNCATED >> 8) as u8;
        message
    }

    /// An answer with as many records as fit into `room`.
    pub(super) fn with_records(&self, code: Code, records: &[Record], room: usize) -> Vec<u8> {
        let mut message = header(self.id, answered(self.flags), code, [1, 0, 0, 0]);
        // As it was asked: some clients spell their questions at random and compare (draft-vixie-dnsext-dns0x20).
        message.extend_from_slice(&self.bytes[HEADER..self.end]);
        let room = room - if self.edns.is_some() { 11 } else { 0 };
        let mut count = 0u16;
        for record in records {
            let (kind, data) = record.data();
            if message.len() + 12 + data.len() > room || count == u16::MAX {
                message[2] |= (TRUNCATED >> 8) as u8;
                break;
            }
            // The question's name, by a pointer.
            message.extend_from_slice(&(0xC000 | HEADER as u16).to_be_bytes());
            message.extend_from_slice(&kind.to_be_bytes());
            message.extend_from_slice(&IN.to_be_bytes());
            message.extend_from_slice(&TTL.to_be_bytes());
            message.extend_from_slice(&(data.len() as u16).to_be_bytes());
            message.extend_from_slice(&data);
            count += 1;
        }
        message[6..8].copy_from_slice(&count.to_be_bytes());
        if self.edns.is_some() {
            message[10..12].copy_from_slice(&1u16.to_be_bytes());
            message.push(0);
            message.extend_from_slice(&OPT.to_be_bytes());
            message.extend_from_slice(&(MOST as u16).to_be_bytes());
            message.extend_from_slice(&[code as u8 >> 4, 0, 0, 0, 0, 0]);
        }
        message
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Address(IpAddr),
    /// A name of dots and labels.
    Pointer(String),
}

impl Record {
    fn data(&self) -> (u16, Vec<u8>) {
        match self {
            Self::Address(IpAddr::V4(address)) => (A, address.octets().to_vec()),
            Self::Address(IpAddr::V6(address)) => (AAAA, address.octets().to_vec()),
            Self::Pointer(name) => {
                let mut data = Vec::with_capacity(name.len() + 2);
                for label in name.split('.') {
                    data.push(label.len() as u8);
                    data.extend_from_slice(label.as_bytes());
                }
                data.push(0);
                (PTR, data)
            }
        }
    }
}

/// What a server made of a forwarded question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Answer,
    /// It will not or cannot; another might.
    Failure,
    /// Not an answer to this question at all.
    Foreign,
}

/// Judges an answer to `asked`, our question with our ID.
pub(super) fn judge(answer: &[u8], asked: &[u8]) -> Reply {
    let (Some(flags), Some([questions, ..])) = (u16_at(answer, 2), counts(answer)) else { return Reply::Foreign };
    if flags & RESPONSE == 0 || answer[..2] != asked[..2] || flags & OPCODE != 0 {
        return Reply::Foreign;
    }
    let code = flags & 0xF;
    let failed = [Code::FormatError, Code::ServerFailure, Code::NotImplemented, Code::Refused]
        .iter()
        .any(|failure| *failure as u16 == code);
    if questions == 0 && failed && answer.len() == HEADER {
        return Reply::Failure;
    }
    let question = |bytes: &'_ [u8]| {
        let end = skip_name(bytes, HEADER)? + 4;
        bytes.get(HEADER..end).map(<[u8]>::to_ascii_lowercase)
    };
    if questions != 1 || question(answer).is_none() || question(answer) != question(asked) {
        return Reply::Foreign;
    }
    if failed && code != Code::FormatError as u16 { Reply::Failure } else { Reply::Answer }
}

fn answered(flags: u16) -> u16 {
    RESPONSE | RECURSION_AVAILABLE | flags & (OPCODE | RECURSION_DESIRED | CHECKING_DISABLED)
}

fn header(id: u16, flags: u16, code: Code, counts: [u16; 4]) -> Vec<u8> {
    let mut message = Vec::with_capacity(PLAIN);
    let words = [id, flags | (code as u16 & 0xF)].into_iter().chain(counts);
    words.for_each(|word| message.extend_from_slice(&word.to_be_bytes()));
    message
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn counts(bytes: &[u8]) -> Option<[u16; 4]> {
    Some([u16_at(bytes, 4)?, u16_at(bytes, 6)?, u16_at(bytes, 8)?, u16_at(bytes, 10)?])
}

/// The question's name, and where it ends. There is nothing before it that it could point to.
fn question_name(bytes: &[u8]) -> Option<(Option<String>, usize)> {
    let mut at = HEADER;
    let mut name = Some(String::new());
    loop {
        let length = usize::from(*bytes.get(at)?);
        let label = bytes.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        // The root's octet counts: 255 in all.
        if length > crate::names::MAX_LABEL || at - HEADER > 255 {
            return None;
        }
        if length == 0 {
            return Some((name, at));
        }
        name = name.filter(|_| label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.')).map(|mut name| {
            if !name.is_empty() {
                name.push('.');
            }
            name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
            name
        });
    }
}

/// Where a name ends. Pointers are not followed, so they cannot lead in a circle; but they must lead back.
fn skip_name(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let length = *bytes.get(at)?;
        match length >> 6 {
            0 if length == 0 => return Some(at + 1),
            0 => at += 1 + usize::from(length),
            3 => {
                let target = usize::from(u16_at(bytes, at)? & 0x3FFF);
                return (HEADER..start).contains(&target).then_some(at + 2);
            }
            _ => return None,
        }
        if at - start > 255 {
            return None;
        }
    }
}
