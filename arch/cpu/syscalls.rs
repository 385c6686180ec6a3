//! System call tables: text (`syscalls/*.txt`, a name and a number a line, sorted by name) that is indexed when it is
//! compiled.

/// The calls of one ABI. The index holds offsets and no pointers: six tables of strings would be some thousand
/// relocations at each start of the program.
#[derive(Debug)]
pub struct Syscalls {
    text: &'static str,
    lines: &'static [Line],
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    name: u16,
    length: u8,
    number: u32,
}

impl Syscalls {
    pub(super) const fn new(text: &'static str, lines: &'static [Line]) -> Self {
        Self { text, lines }
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The name and the number of the call at `index`.
    pub fn at(&self, index: usize) -> (&'static str, u32) {
        self.read(&self.lines[index])
    }

    /// Sorted by name.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&'static str, u32)> {
        self.lines.iter().map(|line| self.read(line))
    }

    /// The index of the call `name`, or where it would be.
    pub fn search(&self, name: &str) -> Result<usize, usize> {
        self.lines.binary_search_by(|line| self.read(line).0.cmp(name))
    }

    fn read(&self, line: &Line) -> (&'static str, u32) {
        let start = usize::from(line.name);
        (&self.text[start..start + usize::from(line.length)], line.number)
    }
}

pub(super) const fn count(text: &str) -> usize {
    let (bytes, mut at, mut count) = (text.as_bytes(), 0, 0);
    while at < bytes.len() {
        count += (bytes[at] == b'\n') as usize;
        at += 1;
    }
    count
}

pub(super) const fn parse<const COUNT: usize>(text: &str) -> [Line; COUNT] {
    assert!(text.len() <= u16::MAX as usize);
    let mut lines = [Line { name: 0, length: 0, number: 0 }; COUNT];
    let (bytes, mut at, mut index) = (text.as_bytes(), 0, 0);
    while index < COUNT {
        let start = at;
        while bytes[at] != b' ' {
            at += 1;
        }
        let (mut number, length) = (0, at - start);
        at += 1;
        while bytes[at] != b'\n' {
            assert!(bytes[at].is_ascii_digit());
            number = number * 10 + (bytes[at] - b'0') as u32;
            at += 1;
        }
        at += 1;
        lines[index] = Line { name: start as u16, length: length as u8, number };
        index += 1;
    }
    lines
}
