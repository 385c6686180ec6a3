//! What berth does for networks without the kernel's help, with real sockets.

/// Published TCP ports: bytes, ends, resets, limits.
mod connections;
/// Published UDP ports: sessions and the addresses that answers come from.
mod datagrams;
/// The resolver: names, forwarding, time-outs and nonsense.
mod questions;
mod support;
