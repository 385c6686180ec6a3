use std::net::IpAddr;

use super::answer::{Known, reversed};
use super::message::*;
use crate::names::Names;
use crate::plan;

/// A question with an ID of 0x1234 that desires recursion.
fn question(name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    if let Some(size) = edns {
        bytes.extend_from_slice(&[0, 0, 41]);
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(&[0; 6]);
    }
    bytes
}

fn code_of(bytes: &[u8]) -> u8 {
    match Query::parse(bytes) {
        Ok(_) => panic!("understood"),
        Err(Refused::Silently) => 255,
        Err(Refused::Answered(answer)) => {
            assert_eq!((answer.len(), &answer[..2], answer[2] & 0x80), (HEADER, &bytes[..2], 0x80));
            answer[3] & 0xF
        }
    }
}

#[test]
fn a_question_is_answered_as_it_was_asked() {
    let asked = question("WeB.Net", A, None);
    let query = Query::parse(&asked).unwrap();
    assert_eq!((query.id, query.name.as_deref(), query.kind), (0x1234, Some("web.net"), A));
    let address: IpAddr = "10.0.0.2".parse().unwrap();
    let answer = query.with_records(Code::NoError, &[Record::Address(address)], query.room());
    let mut expected = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    expected.extend_from_slice(&asked[HEADER..]);
    expected.extend_from_slice(&[0xC0, 12, 0, 1, 0, 1, 0, 0, 2, 88, 0, 4, 10, 0, 0, 2]);
    assert_eq!(answer, expected);
}

#[test]
fn an_answer_is_no_longer_than_the_asker_takes() {
    let addresses: Vec<Record> = (0..300u32).map(|n| Record::Address(IpAddr::from(n.to_be_bytes()))).collect();
    for (edns, most) in [(None, 512), (Some(100), 512), (Some(1232), 1232), (Some(65535), 4096)] {
        let asked = question("web", A, edns);
        let query = Query::parse(&asked).unwrap();
        let answer = query.with_records(Code::NoError, &addresses, query.room());
        assert!(answer.len() <= most && answer.len() > most - 16, "{}", answer.len());
        assert_eq!(answer[2] & 2, 2, "truncated");
        assert_eq!(usize::from(answer[7]) + 256 * usize::from(answer[6]), (answer.len() - asked.len()) / 16);
        assert_eq!(answer[11], u8::from(edns.is_some()));
    }
    let asked = question("web", A, None);
    let whole = Query::parse(&asked).unwrap().with_records(Code::NoError, &addresses, LONGEST);
    assert_eq!((whole.len(), whole[2] & 2), (asked.len() + 300 * 16, 0));
}

#[test]
fn what_makes_no_sense_is_refused_with_the_code_that_says_so() {
    let good = question("web", A, Some(1232));
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        code_of(&bytes)
    };
    assert_eq!(changed(2, 0x80), 255, "an answer");
    assert_eq!(changed(2, 0x28), 4, "an update");
    assert_eq!(changed(5, 0), 1, "no question");
    assert_eq!(changed(5, 2), 1, "a question that is not there");
    assert_eq!(changed(7, 1), 1, "an answer in a question");
    assert_eq!(changed(11, 9), 1, "more records than there are");
    assert_eq!(changed(12, 0xC0), 1, "a pointer where there is nothing to point to");
    assert_eq!(changed(12, 0x43), 1, "a kind of label that nobody uses");
    assert_eq!(changed(12, 63), 1, "a label beyond the end");
    assert_eq!(changed(good.len() - 1, 9), 1, "data beyond the end");
    for end in 0..good.len() {
        let code = code_of(&good[..end]);
        assert_eq!(code, if end < HEADER { 255 } else { 1 }, "cut at {end}");
    }
    assert_eq!(code_of(&[&good[..], &[0]].concat()), 1, "more than there should be");
    let long = question(&["a".repeat(63).as_str(); 4].join("."), A, None);
    assert_eq!(code_of(&long), 1, "a name that is too long");
    let twice = [&question("web", A, Some(1232))[..], &good[good.len() - 11..]].concat();
    let mut counted = twice.clone();
    counted[11] = 2;
    assert_eq!(code_of(&counted), 1, "two OPT records");
}

#[test]
fn an_answer_of_a_server_is_believed_only_if_it_is_one_to_the_question() {
    let asked = question("example.org", A, None);
    let mut answer = Query::parse(&asked).unwrap().answer(Code::NoError);
    assert_eq!(judge(&answer, &asked), Reply::Answer);
    answer[HEADER + 1] = b'E';
    assert_eq!(judge(&answer, &asked), Reply::Answer, "in another case");
    answer[HEADER + 1] = b'x';
    assert_eq!(judge(&answer, &asked), Reply::Foreign, "another name");
    assert_eq!(judge(&asked, &asked), Reply::Foreign, "a question");
    let mut other = Query::parse(&asked).unwrap().answer(Code::NoError);
    other[1] ^= 1;
    assert_eq!(judge(&other, &asked), Reply::Foreign, "another ID");
    let refused = Query::parse(&asked).unwrap().answer(Code::Refused);
    assert_eq!(judge(&refused, &asked), Reply::Failure);
    for end in 0..answer.len() {
        assert_eq!(judge(&answer[..end], &asked), Reply::Foreign, "cut at {end}");
    }
    // A name that points at itself, and one that points into the header.
    for target in [HEADER as u8, 0] {
        let mut looped = answer[..HEADER].to_vec();
        looped.extend_from_slice(&[0xC0, target, 0, 1, 0, 1]);
        assert_eq!(judge(&looped, &asked), Reply::Foreign);
    }
}

#[test]
fn random_messages_break_nothing() {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let good = question("some.name.of.a.host", AAAA, Some(1232));
    for round in 0..200_000 {
        let mut bytes = if round % 2 == 0 { good.clone() } else { vec![0; random() as usize % 80] };
        let changes = if round % 2 == 0 { 1 + random() % 4 } else { bytes.len() as u64 };
        for change in 0..changes as usize {
            let at = if round % 2 == 0 { random() as usize % bytes.len() } else { change };
            bytes[at] = random() as u8;
        }
        if let Ok(query) = Query::parse(&bytes) {
            query.truncated();
            assert!(query.room() >= 512);
        }
        judge(&bytes, &good);
    }
}

#[test]
fn addresses_are_read_backwards() {
    assert_eq!(reversed("4.3.2.1.in-addr.arpa"), "1.2.3.4".parse().ok());
    let name = format!("2.{}d.f.ip6.arpa", "0.".repeat(29));
    assert_eq!(reversed(&name), "fd00::2".parse().ok());
    for bad in
        ["3.2.1.in-addr.arpa", "5.4.3.2.1.in-addr.arpa", "a.3.2.1.in-addr.arpa", "1.ip6.arpa", "in-addr.arpa", ""]
    {
        assert_eq!(reversed(bad), None, "{bad}");
    }
}

#[test]
fn names_of_networks_and_links_are_known_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (front, back) = (folder.path().join("1"), folder.path().join("2"));
    let add = |folder, owner: &str, name: &str, addresses: &[&str]| {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Names::new(folder).add(owner, &[name.to_owned()], &addresses).unwrap();
    };
    add(&front, "c1", "web", &["10.0.0.2", "fd00::2"]);
    add(&back, "c1", "web", &["10.1.0.2"]);
    add(&back, "c2", "db", &["10.1.0.3"]);
    let known = Known::new(&plan::Resolver {
        networks: vec![("Front".into(), front), ("back".into(), back)],
        links: vec![("Store".into(), "db".into())],
        servers: Vec::new(),
    });
    let answer = |name: &str, kind: u16| {
        let asked = question(name, kind, None);
        let (code, records) = known.answer(&Query::parse(&asked).unwrap())?;
        assert_eq!(code, Code::NoError);
        let text = |record: &Record| match record {
            Record::Address(address) => address.to_string(),
            Record::Pointer(name) => name.clone(),
        };
        Some(records.iter().map(text).collect::<Vec<_>>().join(" "))
    };
    let is = |text: &str| Some(text.to_owned());
    assert_eq!(answer("WEB", A), is("10.0.0.2"));
    assert_eq!(answer("web", AAAA), is("fd00::2"));
    assert_eq!(answer("web.front", A), is("10.0.0.2"));
    assert_eq!(answer("web.back", A), is("10.1.0.2"));
    assert_eq!(answer("db", AAAA), is(""), "the name is there, though no such address");
    assert_eq!(answer("db", 15), is(""), "nobody outside is asked for a local name's mail");
    assert_eq!(answer("store", A), is("10.1.0.3"));
    assert_eq!(answer("3.0.1.10.in-addr.arpa", PTR), is("db.back"));
    assert_eq!(answer("2.0.0.10.in-addr.arpa", PTR), is("web.front"));
    for other in ["db.front", "example.org", "webx", "", "front", ".front", "9.9.9.9.in-addr.arpa"] {
        assert_eq!(answer(other, A), None, "{other}");
    }
    assert_eq!(answer("9.9.9.9.in-addr.arpa", PTR), None);
}

#[test]
fn a_version_that_nobody_knows_is_said_to_be_bad() {
    let folder = tempfile::tempdir().unwrap();
    Names::new(folder.path()).add("c", &["web".into()], &["10.0.0.2".parse().unwrap()]).unwrap();
    let networks = vec![("net".into(), folder.path().to_owned())];
    let known = Known::new(&plan::Resolver { networks, ..plan::Resolver::default() });
    let mut asked = question("web", A, Some(1232));
    let version = asked.len() - 5;
    asked[version] = 1;
    let query = Query::parse(&asked).unwrap();
    let (code, records) = known.answer(&query).unwrap();
    let answer = query.with_records(code, &records, query.room());
    assert_eq!((answer[3] & 0xF, answer[answer.len() - 6]), (0, 1), "16, in two parts");
}
