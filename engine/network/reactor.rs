//! What relay and resolver share: an epoll descriptor that their owner polls, and places for what is registered at it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

pub(crate) use epoll::EventFlags;

/// Taken from the kernel at once.
const EVENTS: usize = 64;

/// What an event belongs to: a kind that its owner knows, and a place in one of its slabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: u8,
    pub(crate) key: Key,
}

impl Token {
    fn pack(self) -> u64 {
        u64::from(self.kind) << 56 | u64::from(self.key.generation) << 32 | u64::from(self.key.index)
    }

    fn unpack(bits: u64) -> Self {
        let key = Key { index: bits as u32, generation: (bits >> 32) as u32 & GENERATIONS };
        Self { kind: (bits >> 56) as u8, key }
    }
}

/// A descriptor is out of the reactor when it is closed; its key tells a late event from one of the place's next user.
pub(crate) struct Reactor {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Reactor {
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::new() })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: Token, flags: EventFlags) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token.pack()), flags)
    }

    pub(crate) fn modify(&self, fd: BorrowedFd<'_>, token: Token, flags: EventFlags) -> Result<(), Errno> {
        epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(token.pack()), flags)
    }

    pub(crate) fn delete(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        epoll::delete(&self.epoll, fd)
    }

    /// What is ready now, without waiting.
    pub(crate) fn ready(&mut self) -> Result<Vec<(Token, EventFlags)>, Errno> {
        self.events.clear();
        self.events.reserve_exact(EVENTS);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&now)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
        // The kernel's structure is packed, so that its fields cannot be borrowed.
        Ok(self.events.iter().map(|event| (Token::unpack({ event.data }.u64()), { event.flags })).collect())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// Of what is in no slab.
    pub(crate) const NONE: Self = Self { index: 0, generation: 0 };
}

/// A token has so many bits for it.
const GENERATIONS: u32 = 0xFF_FFFF;

#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// What `make` makes of its key; nothing if it refuses.
    pub(crate) fn insert<E>(&mut self, make: impl FnOnce(Key) -> Result<T, E>) -> Result<Key, E> {
        let index = self.free.last().copied().unwrap_or(self.places.len() as u32);
        let generation = self.places.get(index as usize).map_or(0, |place| place.0);
        let key = Key { index, generation };
        let value = Some(make(key)?);
        match self.free.pop() {
            Some(_) => self.places[index as usize].1 = value,
            None => self.places.push((generation, value)),
        }
        Ok(key)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let (generation, value) = self.places.get(key.index as usize)?;
        value.as_ref().filter(|_| *generation == key.generation)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, value) = self.places.get_mut(key.index as usize)?;
        value.as_mut().filter(|_| *generation == key.generation)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let (generation, value) = self.places.get_mut(key.index as usize)?;
        let value = value.take_if(|_| *generation == key.generation)?;
        *generation = generation.wrapping_add(1) & GENERATIONS;
        self.free.push(key.index);
        Some(value)
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().enumerate().filter_map(|(index, (generation, value))| {
            Some((Key { index: index as u32, generation: *generation }, value.as_ref()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_used_again_has_another_key() {
        let mut slab = Slab::new();
        let first = slab.insert(|_| Ok::<_, ()>('a')).unwrap();
        let other = slab.insert(|_| Ok::<_, ()>('b')).unwrap();
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert(|_| Ok::<_, ()>('c')).unwrap();
        assert_eq!(second.index, first.index);
        assert_eq!(slab.remove(first), None);
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&'c')));
        assert_eq!((slab.len(), slab.keys()), (2, vec![second, other]));
        let token = Token { kind: 200, key: Key { index: u32::MAX, generation: GENERATIONS } };
        assert_eq!(Token::unpack(token.pack()), token);
    }
}
