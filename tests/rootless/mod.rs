//! Everything as an ordinary user: what root's engine does, and what differs.

/// What else the host has given: storage drivers, control groups.
mod given;
/// The process that keeps the namespaces: it ends by itself, and is replaced when it is killed.
mod keeper;
/// A whole life of images, containers and volumes.
mod life;
/// The OCI runtime command line, run by an ordinary user.
mod oci;
/// Who is who: numbers that the host gave, and a user who was given none.
mod users;
