//! The format of netlink(7): a header of 16 bytes, the family's own header, and attributes that nest. Everything is
//! aligned to four bytes and in the machine's order, unless a protocol says otherwise (nf_tables is big-endian).

use rustix::io::Errno;

/// Flags of linux/netlink.h.
pub const REQUEST: u16 = 1;
pub const ACK: u16 = 4;
pub const REPLACE: u16 = 0x100;
pub const EXCL: u16 = 0x200;
pub const CREATE: u16 = 0x400;
pub const APPEND: u16 = 0x800;
/// `NLM_F_ROOT | NLM_F_MATCH`: everything there is.
pub const DUMP: u16 = 0x300;

/// `NLM_F_DUMP_INTR`: what is dumped changed meanwhile, and the dump may lack something.
pub const DUMP_INTERRUPTED: u16 = 0x10;

/// `NLA_F_NESTED`.
pub const NESTED: u16 = 1 << 15;

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;

/// Requests to be sent together, built one after the other.
#[derive(Debug, Default)]
pub struct Requests {
    bytes: Vec<u8>,
    count: u32,
    /// Where the present message and the open nests begin.
    message: usize,
    nests: Vec<usize>,
    /// How many ask for an acknowledgement.
    awaited: usize,
    batch: bool,
}

impl Requests {
    pub fn new() -> Self {
        Self::default()
    }

    /// An nf_tables batch: all or nothing. The batch's own begin and end messages are added like others, with
    /// [`Requests::begin_quietly`]. One acknowledgement is enough, see [`Requests::acknowledge`]: refusals always come.
    pub fn batch() -> Self {
        Self { batch: true, ..Self::default() }
    }

    /// Begins a request that is acknowledged; `flags` beside REQUEST and ACK (a DUMP is ended by its own message).
    pub fn begin(&mut self, kind: u16, flags: u16, header: &[u8]) -> &mut Self {
        self.awaited += 1;
        let acknowledge = if flags & DUMP == DUMP { 0 } else { ACK };
        self.start(kind, flags | REQUEST | acknowledge, header)
    }

    /// Begins a request that nobody hears of unless it is refused.
    pub fn begin_quietly(&mut self, kind: u16, flags: u16, header: &[u8]) -> &mut Self {
        self.start(kind, flags | REQUEST, header)
    }

    /// Has the present message acknowledged, though it was begun quietly.
    pub fn acknowledge(&mut self) -> &mut Self {
        if let Some(flags) = self.bytes.get_mut(self.message + 6..self.message + 8) {
            let with = u16::from_ne_bytes([flags[0], flags[1]]) | ACK;
            flags.copy_from_slice(&with.to_ne_bytes());
            self.awaited += 1;
        }
        self
    }

    fn start(&mut self, kind: u16, flags: u16, header: &[u8]) -> &mut Self {
        debug_assert!(self.nests.is_empty(), "a nest is open");
        self.message = self.bytes.len();
        self.count += 1;
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&self.count.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(header);
        self.align();
        self
    }

    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.align();
        self
    }

    /// With its NUL.
    pub fn string(&mut self, kind: u16, text: &str) -> &mut Self {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// In the machine's order.
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// In the network's order.
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Attributes that `fill` adds, inside one of kind `kind` (give NESTED with it where the kernel wants it).
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.nests.push(self.bytes.len());
        self.bytes.extend_from_slice(&0u16.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        if let Some(start) = self.nests.pop() {
            let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
            self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        }
        self.close();
        self
    }

    /// Bytes as they are, aligned: a header inside a nest.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.align();
        self
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.close();
    }

    /// The length of the present message.
    fn close(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.message).unwrap_or(u32::MAX);
        self.bytes[self.message..self.message + 4].copy_from_slice(&length.to_ne_bytes());
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn awaited(&self) -> usize {
        self.awaited
    }

    pub(super) fn is_batch(&self) -> bool {
        self.batch
    }

    pub(super) fn index_of(&self, sequence: u32) -> Option<usize> {
        (1..=self.count).contains(&sequence).then(|| sequence as usize - 1)
    }
}

/// One message of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    pub sequence: u32,
    /// What follows the 16 bytes: the family's header and attributes.
    pub payload: &'a [u8],
}

pub(super) enum Outcome {
    Data,
    Done,
    Refused(Errno),
}

impl<'a> Message<'a> {
    pub(super) fn outcome(&self) -> Outcome {
        match self.kind {
            NLMSG_ERROR | NLMSG_DONE => match self.payload.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
                Some(code) if code < 0 => Outcome::Refused(Errno::from_raw_os_error(-code)),
                _ => Outcome::Done,
            },
            _ => Outcome::Data,
        }
    }

    /// The attributes behind a family's header of `header` bytes.
    pub fn attributes(&self, header: usize) -> Attributes<'a> {
        Attributes { rest: self.payload.get(header.next_multiple_of(4)..).unwrap_or_default() }
    }
}

/// The messages in what was received; ends at the first that makes no sense.
pub fn split(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        loop {
            let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
            if length < HEADER || length > bytes.len() {
                return None;
            }
            let (whole, rest) = bytes.split_at(length);
            bytes = rest.get(length.next_multiple_of(4) - length..).unwrap_or_default();
            let kind = u16::from_ne_bytes([whole[4], whole[5]]);
            if kind != NLMSG_NOOP {
                let sequence = u32::from_ne_bytes([whole[8], whole[9], whole[10], whole[11]]);
                let flags = u16::from_ne_bytes([whole[6], whole[7]]);
                return Some(Message { kind, flags, sequence, payload: &whole[HEADER..] });
            }
        }
    })
}

/// Attributes one after the other: kind (without its flags) and value.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Those inside an attribute's value.
    pub fn of(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    pub fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.into_iter().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    pub fn nested(self, kind: u16) -> Self {
        Self { rest: self.get(kind).unwrap_or_default() }
    }

    pub fn u32(self, kind: u16) -> Option<u32> {
        self.get(kind)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
    }

    pub fn be32(self, kind: u16) -> Option<u32> {
        self.get(kind)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// Up to the NUL.
    pub fn string(self, kind: u16) -> Option<String> {
        let value = self.get(kind)?;
        let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
        Some(String::from_utf8_lossy(&value[..end]).into_owned())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(*self.rest.first_chunk()?));
        if length < 4 || length > self.rest.len() {
            return None;
        }
        let kind = u16::from_ne_bytes([self.rest[2], self.rest[3]]) & 0x3fff;
        let value = &self.rest[4..length];
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut requests = Requests::new();
        requests.begin(16, CREATE, &[7; 6]).string(3, "eth0").nest(18 | NESTED, |inside| {
            inside.string(1, "veth").u32(2, 5);
        });
        requests.begin(20, 0, &[1; 8]);
        let messages: Vec<_> = split(requests.bytes()).collect();
        assert_eq!((messages[0].kind, messages[1].kind, messages.len()), (16, 20, 2));
        let attributes = messages[0].attributes(6);
        assert_eq!(attributes.string(3).unwrap(), "eth0");
        assert_eq!(attributes.nested(18).u32(2), Some(5));
        assert_eq!(requests.index_of(messages[1].sequence), Some(1));
        assert!(attributes.get(9).is_none());
    }

    #[test]
    fn lengths_that_lie_end_the_list() {
        assert_eq!(split(&[200, 0, 0, 0, 1, 0]).count(), 0);
        assert_eq!(split(&[4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!(Attributes::of(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(Attributes::of(&[64, 0, 1, 0]).count(), 0);
    }
}
