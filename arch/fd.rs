//! Descriptors: what must not leak into containers and monitors, and one that is sent to another process.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use crate::{pretend, sys};

/// Marks every descriptor from `first` up as close-on-exec: `close_range` with CLOEXEC (5.11), else by the list
/// in /proc/self/fd, else by number up to the limit. System calls only: safe between clone and exec.
pub fn cloexec_from(first: i32) -> io::Result<()> {
    let from = u32::try_from(first).map_err(|_| Errno::BADF)?;
    if !pretend::without("close_range") && sys::close_range_cloexec(from).is_ok() {
        return Ok(());
    }
    match cloexec_listed(first) {
        Ok(()) => Ok(()),
        Err(_) => Ok(cloexec_counted(first)?),
    }
}

/// Closes every descriptor from 3 up. Only for the first act of a process: whoever owned one of them would be left
/// with a number that is somebody else's.
pub fn close_inherited() {
    if !pretend::without("close_range") && sys::close_range(3).is_ok() {
        return;
    }
    let listed: Vec<i32> = match std::fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect(),
        Err(_) => (3..1024).collect(),
    };
    // That of the listing itself is closed by now.
    listed.into_iter().filter(|&fd| fd > 2).for_each(sys::close);
}

/// Sends a descriptor with `bytes`, of which there is one at least (SCM_RIGHTS, unix(7)). How many have gone: fewer than all over
/// a stream. System calls only.
pub fn send_with(socket: impl AsFd, bytes: &[u8], descriptor: impl AsFd) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::NOBUFS);
    }
    retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL))
}

/// How many bytes have come, 0 at the end, and the descriptor that came with them, close-on-exec. System calls only.
pub fn receive_with(socket: impl AsFd, bytes: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        retry_on_intr(|| recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC))?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((received.bytes, descriptor))
}

fn cloexec_listed(first: i32) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let list = rustix::fs::open(c"/proc/self/fd", flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(list, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let number = entry.file_name().to_str().ok().and_then(|name| name.parse::<i32>().ok());
        if let Some(fd) = number.filter(|&fd| fd >= first) {
            set(fd)?;
        }
    }
    Ok(())
}

/// Descriptors above the limit (it was lowered after they were opened) are missed: this is for a host without
/// close_range and without /proc.
fn cloexec_counted(first: i32) -> Result<(), Errno> {
    const UNLIMITED: u64 = 1 << 20;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(UNLIMITED);
    let end = i32::try_from(limit.min(UNLIMITED)).unwrap_or(i32::MAX);
    (first..end).try_for_each(set)
}

fn set(fd: i32) -> Result<(), Errno> {
    match sys::set_cloexec(fd) {
        Err(Errno::BADF) => Ok(()),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::FdFlags;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    /// Other tests run in this process: this looks at two descriptors of its own, far up, one test at a time.
    fn marks_from_a_number_on(mark: fn(i32) -> Result<(), Errno>) {
        static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _one = ONE.lock();
        let base = 500;
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty()).unwrap();
        let leaky = |least| -> OwnedFd { rustix::io::fcntl_dupfd_cloexec(&null, least).unwrap() };
        let (below, above) = (leaky(base), leaky(base + 20));
        for fd in [&below, &above] {
            rustix::io::fcntl_setfd(fd, FdFlags::empty()).unwrap();
        }
        mark(above.as_raw_fd()).unwrap();
        assert!(rustix::io::fcntl_getfd(&above).unwrap().contains(FdFlags::CLOEXEC));
        assert!(!rustix::io::fcntl_getfd(&below).unwrap().contains(FdFlags::CLOEXEC));
    }

    #[test]
    fn descriptors_from_a_number_on_are_marked() {
        marks_from_a_number_on(|first| cloexec_from(first).map_err(|_| Errno::IO));
    }

    #[test]
    fn the_list_in_proc_does_the_same() {
        marks_from_a_number_on(cloexec_listed);
    }

    #[test]
    fn counting_does_the_same() {
        marks_from_a_number_on(cloexec_counted);
    }

    #[test]
    fn a_descriptor_arrives_with_its_bytes_and_is_the_same_file() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let file = rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty()).unwrap();
        assert_eq!(send_with(&ours, b"ab", &file), Ok(2));
        let mut bytes = [0; 8];
        let (count, arrived) = receive_with(&theirs, &mut bytes).unwrap();
        let arrived = arrived.unwrap();
        assert_eq!(&bytes[..count], b"ab");
        assert_eq!(rustix::fs::fstat(&arrived).unwrap().st_rdev, rustix::fs::fstat(&file).unwrap().st_rdev);
        assert!(rustix::io::fcntl_getfd(&arrived).unwrap().contains(FdFlags::CLOEXEC));
        drop(ours);
        assert!(matches!(receive_with(&theirs, &mut bytes), Ok((0, None))));
    }
}
