//! Another process's memory.
#![allow(unsafe_code)]

use std::ffi::c_void;

const PAGE: u64 = 4096;

/// Up to `length` bytes from `address`; fewer where the memory ends.
pub(crate) fn read(pid: u32, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; length];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: length };
    let remote = libc::iovec { iov_base: address as usize as *mut c_void, iov_len: length };
    // SAFETY: the kernel writes at most `length` bytes to the buffer, and checks the other process's address.
    let read = unsafe { libc::process_vm_readv(pid as i32, &raw const local, 1, &raw const remote, 1, 0) };
    bytes.truncate(usize::try_from(read).unwrap_or(0));
    bytes
}

/// A string that ends with NUL, of at most a page; None for no string.
pub(crate) fn string(pid: u32, address: u64) -> Option<Vec<u8>> {
    if address == 0 {
        return None;
    }
    let mut text = Vec::new();
    let mut address = address;
    while text.len() < PAGE as usize {
        // Never across the end of a page at once: what is behind may not be there.
        let part = read(pid, address, (PAGE - address % PAGE) as usize);
        match part.iter().position(|byte| *byte == 0) {
            Some(end) => {
                text.extend_from_slice(&part[..end]);
                return Some(text);
            }
            None if part.is_empty() => return None,
            None => {
                address += part.len() as u64;
                text.extend(part);
            }
        }
    }
    None
}

pub(crate) fn write(pid: u32, address: u64, bytes: &[u8]) -> bool {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as usize as *mut c_void, iov_len: bytes.len() };
    // SAFETY: the kernel reads the buffer and checks the other process's address.
    let wrote = unsafe { libc::process_vm_writev(pid as i32, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(wrote) == Ok(bytes.len())
}
