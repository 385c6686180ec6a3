//! sysctl(3): what the kernel says of itself, by name.

use super::sys;

/// An integer of any width (`kern.racct.enable`, `hw.physmem`); `None` if there is none of that name.
pub fn number(name: &str) -> Option<u64> {
    let value = sys::sysctl(name)?;
    match value.len() {
        4 => Some(u64::from(u32::from_ne_bytes(value.try_into().ok()?))),
        8 => Some(u64::from_ne_bytes(value.try_into().ok()?)),
        1 => value.first().map(|&byte| u64::from(byte)),
        _ => None,
    }
}

/// A string without its final NUL.
pub fn text(name: &str) -> Option<String> {
    let mut value = sys::sysctl(name)?;
    while value.last() == Some(&0) {
        value.pop();
    }
    String::from_utf8(value).ok()
}
