//! DNS messages (RFC 1035, RFC 6891), as much of them as a resolver for a few names needs: a header, one question, and
//! whether there is an OPT record. Everything is hostile: no length is believed before it is looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const A: u16 = 1;
pub(super) const PTR: u16 = 12;
pub(super) const AAAA: u16 = 28;
const OPT: u16 = 41;
pub(super) const ANY: u16 = 255;
const IN: u16 = 1;

pub(super) const NO_ERROR: u8 = 0;
const FORMAT_ERROR: u8 = 1;
pub(super) const SERVER_FAILURE: u8 = 2;
const NOT_IMPLEMENTED: u8 = 4;
const REFUSED: u8 = 5;

pub(super) const HEADER: usize = 12;
/// Bytes of an answer over UDP without EDNS, and at most with it: what passes without fragments.
const PLAIN: usize = 512;
const LARGEST: usize = 1232;
/// Seconds; Docker's.
const TTL: u32 = 600;
const LONGEST_NAME: usize = 255;

/// A question that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub id: u16,
    /// RD, as it was asked.
    recursion: bool,
    /// In lower case, labels with dots between; None if a label holds what no name of ours does.
    pub name: Option<String>,
    pub kind: u16,
    class: u16,
    /// The question as it was asked, to be given back.
    question: Vec<u8>,
    /// The size that the asker takes, by its OPT record.
    edns: Option<u16>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Query(Query),
    /// No question, but one that has an answer: an error.
    Answer(Vec<u8>),
    /// Not worth an answer.
    Nothing,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let (Some(id), Some(flags)) = (u16_at(bytes, 0), u16_at(bytes, 2)) else { return Parsed::Nothing };
    // An answer to an answer would go on for ever.
    if bytes.len() < HEADER || flags & 0x8000 != 0 {
        return Parsed::Nothing;
    }
    let refuse = |code: u8| Parsed::Answer(header(id, flags & 0x0100 != 0, code, false, 0, 0, 0));
    if flags & 0x7800 != 0 {
        return refuse(NOT_IMPLEMENTED);
    }
    match question(bytes, id, flags) {
        Some(query) if query.class != IN => Parsed::Answer(query.failure(REFUSED)),
        Some(query) => Parsed::Query(query),
        None => refuse(FORMAT_ERROR),
    }
}

fn question(bytes: &[u8], id: u16, flags: u16) -> Option<Query> {
    if u16_at(bytes, 4)? != 1 {
        return None;
    }
    let (name, end) = read_name(bytes)?;
    let (kind, class) = (u16_at(bytes, end)?, u16_at(bytes, end + 2)?);
    let question = bytes[HEADER..end + 4].to_vec();
    let edns = opt(bytes, end + 4)?;
    Some(Query { id, recursion: flags & 0x0100 != 0, name, kind, class, question, edns })
}

/// The first name: labels only, for there is nothing before it that could be pointed to.
fn read_name(bytes: &[u8]) -> Option<(Option<String>, usize)> {
    let (mut at, mut name, mut plain) = (HEADER, String::new(), true);
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        match length {
            0 => return Some((plain.then_some(name), at)),
            1..=63 => {
                let label = bytes.get(at..at + length)?;
                at += length;
                if at - HEADER > LONGEST_NAME {
                    return None;
                }
                plain &= label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
            }
            _ => return None,
        }
    }
}

/// Looks through the records behind the question for an OPT; `None` if they make no sense.
fn opt(bytes: &[u8], mut at: usize) -> Option<Option<u16>> {
    let count = |field: usize| u16_at(bytes, field).map(usize::from);
    let records = count(6)? + count(8)? + count(10)?;
    let mut found = None;
    for _ in 0..records {
        at = skip_name(bytes, at)?;
        let (kind, size) = (u16_at(bytes, at)?, u16_at(bytes, at + 2)?);
        let length = usize::from(u16_at(bytes, at + 8)?);
        at += 10 + length;
        if at > bytes.len() {
            return None;
        }
        if kind == OPT {
            // There is one at most (RFC 6891, 6.1.1).
            if found.replace(size).is_some() {
                return None;
            }
        }
    }
    Some(found)
}

fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            // A pointer ends the name; where it leads does not matter here.
            192..=255 => return Some(at + 2),
            _ => return None,
        }
    }
}

fn header(id: u16, recursion: bool, code: u8, truncated: bool, questions: u16, answers: u16, more: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    let flags = 0x8080 | u16::from(recursion) << 8 | u16::from(truncated) << 9 | u16::from(code);
    for number in [id, flags, questions, answers, 0, more] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes
}

impl Query {
    /// Bytes that an answer over UDP may have.
    pub(super) fn room(&self) -> usize {
        self.edns.map_or(PLAIN, |size| usize::from(size).clamp(PLAIN, LARGEST))
    }

    pub(super) fn failure(&self, code: u8) -> Vec<u8> {
        self.answer(code, &[], usize::MAX)
    }

    /// The addresses of the family that was asked for; a name that has none is an empty answer.
    pub(super) fn addresses(&self, addresses: &[IpAddr], room: usize) -> Vec<u8> {
        let records: Vec<_> = addresses
            .iter()
            .filter_map(|address| match address {
                IpAddr::V4(address) if matches!(self.kind, A | ANY) => Some((A, address.octets().to_vec())),
                IpAddr::V6(address) if matches!(self.kind, AAAA | ANY) => Some((AAAA, address.octets().to_vec())),
                _ => None,
            })
            .collect();
        self.answer(NO_ERROR, &records, room)
    }

    /// The name of the address that was asked about.
    pub(super) fn pointer(&self, name: &str, room: usize) -> Vec<u8> {
        let mut data = Vec::new();
        for label in name.split('.').filter(|label| !label.is_empty() && label.len() <= 63) {
            data.push(label.len() as u8);
            data.extend_from_slice(label.as_bytes());
        }
        data.push(0);
        self.answer(NO_ERROR, &[(PTR, data)], room)
    }

    fn answer(&self, code: u8, records: &[(u16, Vec<u8>)], room: usize) -> Vec<u8> {
        let build = |records: &[(u16, Vec<u8>)], truncated: bool| {
            let more = u16::from(self.edns.is_some());
            let count = u16::try_from(records.len()).unwrap_or(u16::MAX);
            let mut bytes = header(self.id, self.recursion, code, truncated, 1, count, more);
            bytes.extend_from_slice(&self.question);
            for (kind, data) in records {
                // The name is the question's.
                bytes.extend_from_slice(&[0xc0, HEADER as u8]);
                bytes.extend_from_slice(&kind.to_be_bytes());
                bytes.extend_from_slice(&IN.to_be_bytes());
                bytes.extend_from_slice(&TTL.to_be_bytes());
                bytes.extend_from_slice(&u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
                bytes.extend_from_slice(data);
            }
            if self.edns.is_some() {
                bytes.push(0);
                bytes.extend_from_slice(&OPT.to_be_bytes());
                bytes.extend_from_slice(&(LARGEST as u16).to_be_bytes());
                bytes.extend_from_slice(&[0; 6]);
            }
            bytes
        };
        let whole = build(records, false);
        if whole.len() <= room { whole } else { build(&[], true) }
    }

    /// The address that a reverse question is about.
    pub(super) fn reversed(&self) -> Option<IpAddr> {
        let name = self.name.as_deref().filter(|_| matches!(self.kind, PTR | ANY))?;
        if let Some(octets) = name.strip_suffix(".in-addr.arpa") {
            let mut parts = octets.split('.').rev();
            let mut bytes = [0; 4];
            for byte in &mut bytes {
                *byte = parts.next()?.parse().ok()?;
            }
            return parts.next().is_none().then(|| Ipv4Addr::from(bytes).into());
        }
        let digits: String = name.strip_suffix(".ip6.arpa")?.split('.').rev().collect();
        let right = digits.len() == 32 && name.len() == 63 + ".ip6.arpa".len();
        right.then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(|bits| Ipv6Addr::from(bits).into())
    }

    /// Whether `bytes` answer this question when it was asked under `id`.
    pub(super) fn is_answered_by(&self, id: u16, bytes: &[u8]) -> bool {
        let same = |answered: &[u8]| answered.eq_ignore_ascii_case(&self.question);
        u16_at(bytes, 0) == Some(id)
            && u16_at(bytes, 2).is_some_and(|flags| flags & 0x8000 != 0)
            && u16_at(bytes, 4) == Some(1)
            && bytes.get(HEADER..HEADER + self.question.len()).is_some_and(same)
    }
}

/// Whether another server had better be asked.
pub(super) fn has_failed(bytes: &[u8]) -> bool {
    bytes.get(3).is_some_and(|byte| matches!(byte & 0x0f, SERVER_FAILURE | NOT_IMPLEMENTED | REFUSED))
}

/// The same message under another ID.
pub(super) fn set_id(bytes: &mut [u8], id: u16) {
    if let Some(place) = bytes.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn asked(name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&IN.to_be_bytes());
        if let Some(size) = edns {
            bytes.extend_from_slice(&[0, 0, 41]);
            bytes.extend_from_slice(&size.to_be_bytes());
            bytes.extend_from_slice(&[0; 6]);
        }
        bytes
    }

    fn query(name: &str, kind: u16, edns: Option<u16>) -> Query {
        match parse(&asked(name, kind, edns)) {
            Parsed::Query(query) => query,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_are_given_for_the_family_that_was_asked() {
        let both = ["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let answer = query("Web", A, None).addresses(&both, 512);
        assert_eq!(&answer[..12], [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(&answer[12..16], b"\x03Web");
        assert!(answer.ends_with(&[0, 4, 10, 0, 0, 2]));
        assert!(query("web", AAAA, None).addresses(&both, 512).ends_with(&[0, 2]));
        let answer = query("web", AAAA, None).addresses(&both[..1], 512);
        assert_eq!((answer[3] & 15, answer[7]), (NO_ERROR, 0));
    }

    #[test]
    fn an_answer_that_does_not_fit_says_so_and_has_none() {
        let many: Vec<IpAddr> = (0..100).map(|last| Ipv4Addr::new(10, 0, 0, last).into()).collect();
        let plain = query("web", A, None);
        let answer = plain.addresses(&many, plain.room());
        assert_eq!((answer[2] & 2, answer[7]), (2, 0));
        let roomy = query("web", A, Some(9000));
        assert_eq!(roomy.room(), LARGEST);
        assert_eq!(roomy.addresses(&many[..50], roomy.room())[7], 50);
        assert_eq!(query("web", A, Some(100)).room(), PLAIN);
    }

    #[test]
    fn reverse_names_are_read() {
        let four = query("2.0.0.10.in-addr.arpa", PTR, None);
        assert_eq!(four.reversed(), Some("10.0.0.2".parse().unwrap()));
        let digits = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        assert_eq!(query(digits, PTR, None).reversed(), Some("fd00::2".parse().unwrap()));
        for other in ["1.2.3.in-addr.arpa", "1.2.3.4.5.in-addr.arpa", "x.ip6.arpa", "web"] {
            assert_eq!(query(other, PTR, None).reversed(), None, "{other}");
        }
        assert!(four.pointer("web.net", 512).ends_with(b"\x03web\x03net\x00"));
    }

    #[test]
    fn nonsense_gets_an_error_or_nothing() {
        let good = asked("web", A, Some(1232));
        assert_eq!(parse(&[]), Parsed::Nothing);
        assert_eq!(parse(&good[..11]), Parsed::Nothing);
        let mut answer = good.clone();
        answer[2] |= 0x80;
        assert_eq!(parse(&answer), Parsed::Nothing);
        let code = |bytes: &[u8]| match parse(bytes) {
            Parsed::Answer(answer) => answer[3] & 15,
            other => panic!("{other:?}"),
        };
        assert_eq!(code(&good[..20]), FORMAT_ERROR);
        let mut bytes = good.clone();
        bytes[2] |= 0x28;
        assert_eq!(code(&bytes), NOT_IMPLEMENTED);
        let mut bytes = good.clone();
        bytes[5] = 2;
        assert_eq!(code(&bytes), FORMAT_ERROR);
        // A pointer in the question, to itself.
        let mut bytes = good.clone();
        bytes[12..14].copy_from_slice(&[0xc0, 12]);
        assert_eq!(code(&bytes), FORMAT_ERROR);
        let long = vec!["a".repeat(60); 5].join(".");
        assert_eq!(code(&asked(&long, A, None)), FORMAT_ERROR);
    }

    #[test]
    fn whatever_arrives_is_survived() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = asked("web.example", A, Some(4096));
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = (seed >> 33) as usize % bytes.len();
            bytes[place] = (seed >> 24) as u8;
            let end = (seed >> 40) as usize % (bytes.len() + 1);
            if let Parsed::Query(query) = parse(&bytes[..end]) {
                let _ = (query.reversed(), query.addresses(&["10.0.0.1".parse().unwrap()], query.room()));
            }
        }
    }
}
