//! Names and values for the system calls that take them as a list: nmount(2), jail_set(2) and jail_get(2).
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_int};
use std::io;
use std::ptr;

use rustix::io::Errno;

/// Room for what the kernel says of a value that it refuses (`errmsg`).
const MESSAGE: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Mount,
    JailSet,
    JailGet,
}

/// What the kernel refused, with its words if it had some.
#[derive(Debug)]
pub struct Refused {
    pub errno: Errno,
    pub words: String,
}

#[derive(Debug, Default)]
pub struct Pairs(Vec<(CString, Vec<u8>)>);

impl Pairs {
    /// A value in the kernel's form; an empty one is a word without a value. EINVAL for a name with a NUL byte.
    pub fn push(&mut self, name: &str, value: Vec<u8>) -> Result<(), Errno> {
        self.0.push((CString::new(name).map_err(|_| Errno::INVAL)?, value));
        Ok(())
    }

    /// EINVAL for a text with a NUL byte.
    pub fn text(&mut self, name: &str, text: &[u8]) -> Result<(), Errno> {
        self.push(name, CString::new(text).map_err(|_| Errno::INVAL)?.into_bytes_with_nul())
    }

    /// What the kernel has written into the value `name` (of [`Call::JailGet`]).
    pub fn get(&self, name: &CStr) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known.as_c_str() == name).map(|(_, value)| value.as_slice())
    }

    /// Makes the call with its own flags (MNT_*, JAIL_*).
    pub fn call(&mut self, call: Call, flags: i32) -> Result<i32, Refused> {
        self.0.push((c"errmsg".to_owned(), vec![0; MESSAGE]));
        let mut vectors = Vec::with_capacity(self.0.len() * 2);
        for (name, value) in &mut self.0 {
            let name = name.as_bytes_with_nul();
            vectors.push(libc::iovec { iov_base: name.as_ptr().cast_mut().cast(), iov_len: name.len() });
            // A word without a value has no address either.
            let base = if value.is_empty() { ptr::null_mut() } else { value.as_mut_ptr().cast() };
            vectors.push(libc::iovec { iov_base: base, iov_len: value.len() });
        }
        let (list, count) = (vectors.as_mut_ptr(), u32::try_from(vectors.len()).unwrap_or(u32::MAX));
        let flags: c_int = flags;
        // SAFETY: the vectors point into `self`, which outlives the call, and have their values' lengths. Names are only read;
        // values are this list's own and may be written.
        let answer = unsafe {
            match call {
                Call::Mount => libc::nmount(list, count, flags),
                Call::JailSet => libc::jail_set(list, count, flags),
                Call::JailGet => libc::jail_get(list, count, flags),
            }
        };
        if answer >= 0 {
            return Ok(answer);
        }
        let errno = super::sys::last_error();
        let words = self.get(c"errmsg").and_then(|message| CStr::from_bytes_until_nul(message).ok());
        Err(Refused { errno, words: words.unwrap_or_default().to_string_lossy().into_owned() })
    }
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self { errno, words: String::new() }
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        let error = Self::from(refused.errno);
        if refused.words.is_empty() { error } else { Self::new(error.kind(), refused.words) }
    }
}
