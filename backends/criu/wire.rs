//! The part of the protocol buffers' encoding that criu's messages need: numbers and strings of bytes
//! (protobuf.dev/programming-guides/encoding).

use std::io;

const NUMBER: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

/// A message that is being written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn number(&mut self, field: u32, value: u64) -> &mut Self {
        self.varint(u64::from(field) << 3 | NUMBER);
        self.varint(value);
        self
    }

    /// Left out if it is false, which every flag is without.
    pub(super) fn flag(&mut self, field: u32, value: bool) -> &mut Self {
        if value { self.number(field, 1) } else { self }
    }

    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) -> &mut Self {
        self.varint(u64::from(field) << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn message(&mut self, field: u32, value: &Message) -> &mut Self {
        self.bytes(field, &value.0)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'m> {
    Number(u64),
    Bytes(&'m [u8]),
}

/// The fields of a message, in its order. InvalidData for what is none.
pub(super) fn fields(mut message: &[u8]) -> io::Result<Vec<(u32, Value<'_>)>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let field = u32::try_from(key >> 3).map_err(|_| invalid())?;
        match key & 7 {
            NUMBER => fields.push((field, Value::Number(varint(&mut message)?))),
            BYTES => {
                let length = usize::try_from(varint(&mut message)?).map_err(|_| invalid())?;
                fields.push((field, Value::Bytes(take(&mut message, length)?)));
            }
            // Nothing that is looked at has these.
            FIXED_64 => drop(take(&mut message, 8)?),
            FIXED_32 => drop(take(&mut message, 4)?),
            _ => return Err(invalid()),
        }
    }
    Ok(fields)
}

fn varint(message: &mut &[u8]) -> io::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(invalid())
}

fn take<'m>(message: &mut &'m [u8], length: usize) -> io::Result<&'m [u8]> {
    let (taken, rest) = message.split_at_checked(length).ok_or_else(invalid)?;
    *message = rest;
    Ok(taken)
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a message of protocol buffers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_written_as_the_encoding_says_and_read_back() {
        let mut inner = Message::default();
        inner.bytes(2, b"testing");
        let mut message = Message::default();
        message.number(1, 150).message(3, &inner).flag(4, true).flag(5, false);
        // The first two are the encoding's own examples.
        assert_eq!(message.as_bytes(), b"\x08\x96\x01\x1a\x09\x12\x07testing\x20\x01");
        let found = fields(message.as_bytes()).unwrap();
        assert_eq!(found, [(1, Value::Number(150)), (3, Value::Bytes(inner.as_bytes())), (4, Value::Number(1))]);
        assert_eq!(fields(b"\x09abcdefgh\x15abcd\x08\x01").unwrap(), [(1, Value::Number(1))]);
    }

    #[test]
    fn a_message_that_is_cut_or_lies_is_refused() {
        let mut message = Message::default();
        message.number(1, 1 << 40).bytes(2, b"abc");
        let whole = message.as_bytes();
        let cuts = (1..whole.len()).filter(|&cut| fields(&whole[..cut]).is_ok());
        // Between two fields.
        assert_eq!(cuts.count(), 1);
        assert!(fields(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").is_err());
        assert!(fields(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
        assert!(fields(b"\x0b").is_err());
    }
}
