//! The whole engine on one backend after the other.

mod oci;
