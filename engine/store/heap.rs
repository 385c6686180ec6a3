//! SQLite's memory, from the program's allocator: that of a C library such as musl asks the kernel for each page of the cache and
//! gives it back at once, which was a tenth of the time of `berth run`.
#![allow(unsafe_code)]

use std::alloc::Layout;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Once;

use rusqlite::ffi;

/// Before each piece is its size. As wide as what SQLite wants aligned, on every architecture.
const HEADER: usize = 16;

/// Called before anything else is asked of SQLite; later calls do nothing.
pub(crate) fn share() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let methods = ffi::sqlite3_mem_methods {
            xMalloc: Some(allocate),
            xFree: Some(free),
            xRealloc: Some(reallocate),
            xSize: Some(size_of_piece),
            xRoundup: Some(round_up),
            xInit: Some(start),
            xShutdown: Some(stop),
            pAppData: ptr::null_mut(),
        };
        // SAFETY: nothing of SQLite's runs in this process yet, and it copies the methods. Where it says no, it keeps to C's.
        unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods) };
    });
}

/// Of a piece that holds `size` bytes; `None`: there is none that large.
fn layout(size: c_int) -> Option<Layout> {
    let size = usize::try_from(size).ok().filter(|&size| size > 0)?.checked_add(HEADER)?;
    Layout::from_size_align(size, HEADER).ok()
}

/// What SQLite sees of a block, whose size it notes; null if there is no block.
///
/// # Safety
/// `block` is null or was allocated with `layout(size)`.
unsafe fn piece(block: *mut u8, size: c_int) -> *mut c_void {
    if block.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: the block begins with the header, which is aligned for this and not the piece's.
    unsafe {
        block.cast::<c_int>().write(size);
        block.add(HEADER).cast()
    }
}

/// The block of a piece, and its layout.
///
/// # Safety
/// `piece` was made by [`piece`] and is still there.
unsafe fn block(piece: *mut c_void) -> Option<(*mut u8, Layout)> {
    // SAFETY: the header is before it.
    let (block, size) = unsafe {
        let block = piece.cast::<u8>().sub(HEADER);
        (block, block.cast::<c_int>().read())
    };
    Some((block, layout(size)?))
}

unsafe extern "C" fn allocate(size: c_int) -> *mut c_void {
    let Some(layout) = layout(size) else { return ptr::null_mut() };
    // SAFETY: the layout is not empty, and the block is one of it.
    unsafe { piece(std::alloc::alloc(layout), size) }
}

unsafe extern "C" fn free(piece: *mut c_void) {
    if piece.is_null() {
        return;
    }
    // SAFETY: SQLite frees what it has got from here, once.
    unsafe {
        if let Some((block, layout)) = block(piece) {
            std::alloc::dealloc(block, layout);
        }
    }
}

unsafe extern "C" fn reallocate(old: *mut c_void, size: c_int) -> *mut c_void {
    let Some(new) = layout(size) else { return ptr::null_mut() };
    // SAFETY: SQLite gives a piece from here that is still there, and not null (it calls the others for that).
    unsafe {
        match block(old) {
            Some((block, layout)) => piece(std::alloc::realloc(block, layout, new.size()), size),
            None => ptr::null_mut(),
        }
    }
}

unsafe extern "C" fn size_of_piece(piece: *mut c_void) -> c_int {
    if piece.is_null() {
        return 0;
    }
    // SAFETY: as for `free`.
    unsafe { piece.cast::<u8>().sub(HEADER).cast::<c_int>().read() }
}

unsafe extern "C" fn round_up(size: c_int) -> c_int {
    size.checked_add(7).map_or(size, |size| size & !7)
}

unsafe extern "C" fn start(_: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn stop(_: *mut c_void) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_keeps_its_bytes_and_knows_its_size() {
        // SAFETY: a piece is used as long as it is there, within its size.
        unsafe {
            let piece = allocate(10);
            assert_eq!((piece as usize % 8, size_of_piece(piece)), (0, 10));
            piece.cast::<u8>().write_bytes(7, 10);
            let piece = reallocate(piece, 100_000);
            assert_eq!(size_of_piece(piece), 100_000);
            assert_eq!(*piece.cast::<[u8; 10]>(), [7; 10]);
            free(piece);
            free(ptr::null_mut());
            assert!(allocate(0).is_null() && allocate(-1).is_null());
        }
        // SAFETY: it only counts.
        assert_eq!([1, 8, 9, c_int::MAX].map(|size| unsafe { round_up(size) }), [8, 8, 16, c_int::MAX]);
    }
}
