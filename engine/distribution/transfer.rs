//! What every pull and push is given.

use berth_image::Stop;

use crate::{Credentials, Tell};

/// Who asks, who hears, and who may end it.
#[derive(Clone, Copy)]
pub struct Transfer<'a> {
    pub credentials: Option<&'a Credentials>,
    pub tell: &'a Tell<'a>,
    pub stop: &'a Stop<'a>,
}
