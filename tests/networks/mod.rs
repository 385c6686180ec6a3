//! Networks, ports and names.

/// Two hundred on one network.
mod crowd;
/// Names, aliases, links, and questions that go further.
mod names;
/// Rules that others take away come back, and what is left over is found.
mod order;
/// The way out where there is no packet filter.
mod outside;
/// Which ports are public, and whose.
mod ports;
/// Engines that want the same port or the last address.
mod races;
/// Programs that people run, from Debian's packages: nginx, dnsmasq, PostgreSQL, redis.
mod real;
/// Bad input gets a clear answer and leaves nothing.
mod refusals;
/// Who reaches whom, on each packet path.
mod rows;
/// Networks as they are made, shown, joined, left and removed.
mod verbs;
