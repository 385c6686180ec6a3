//! Isolation backends, as their users meet them.

/// Containers by LXC's own tools.
mod lxc;
