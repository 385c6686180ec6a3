//! Networks, ports and names.

/// Who reaches whom, on each packet path.
mod rows;
