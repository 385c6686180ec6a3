//! Options of this driver, as the configuration has them.

use super::settings::{Options, PREFIX};
use crate::DriverOptions;

pub(super) const OPTIONS: DriverOptions = DriverOptions {
    prefix: PREFIX,
    check: |pairs, size| Options::parse(pairs, size).map(drop),
    configure: |root, pairs, size| Options::parse(pairs, size)?.apply(root),
};
