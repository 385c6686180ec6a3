//! Registries: pulls and pushes with Debian's docker-registry and with other clients, logins, lists of manifests, and servers
//! that mean harm.

mod hostile;
mod logins;
mod manifests;
mod pushes;
mod server;
mod survive;
mod transfers;
