//! The image store on real storage drivers: whatever goes in comes out as it was, and what is hostile or interrupted
//! leaves nothing behind. Needs root.

mod fixture;
mod hostile;
mod import;
mod roundtrip;
mod rules;
mod together;
