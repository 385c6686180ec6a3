//! Networks, ports and names.

/// Programs that people run, from Debian's packages: nginx, dnsmasq, PostgreSQL, redis.
mod real;
/// Who reaches whom, on each packet path.
mod rows;
