//! The answer to "can this host do that?".

use serde::Serialize;

/// What a probe found. Never an error: a probe that cannot look says why under `reason`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Probe<T = ()> {
    /// The facility works here, tried and not assumed; `detail` is what was found.
    Available { detail: T },
    /// It does not work here.
    Unavailable {
        /// Lower-case phrase that says what was tried and what the host answered.
        reason: String,
        /// What the user can do about it: a kernel option, a module, a package, a right.
        hint: Option<String>,
    },
}

impl<T> Probe<T> {
    pub fn available(detail: T) -> Self {
        Self::Available { detail }
    }

    pub fn unavailable(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        Self::Unavailable { reason: reason.into(), hint: (!hint.is_empty()).then_some(hint) }
    }

    /// The answer for a facility that [`crate::pretend::without`] takes for absent: it is named in `BERTH_PRETEND_WITHOUT`, or the
    /// kernel is too old for it to be tried.
    pub fn pretended(facility: &str) -> Self {
        if !crate::pretend::is_named(facility) {
            return Self::unavailable(
                format!("{facility} came after Linux 5.1, and this kernel before"),
                "use a newer kernel",
            );
        }
        Self::unavailable(format!("{facility} is pretended to be absent"), "remove it from BERTH_PRETEND_WITHOUT")
    }

    pub fn is_available(&self) -> bool {
        matches!(self, Self::Available { .. })
    }

    pub fn detail(&self) -> Option<&T> {
        match self {
            Self::Available { detail } => Some(detail),
            Self::Unavailable { .. } => None,
        }
    }

    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Available { .. } => None,
            Self::Unavailable { reason, .. } => Some(reason),
        }
    }

    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Probe<U> {
        match self {
            Self::Available { detail } => Probe::Available { detail: f(detail) },
            Self::Unavailable { reason, hint } => Probe::Unavailable { reason, hint },
        }
    }
}
