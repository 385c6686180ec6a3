//! Blobs on their way to a registry.

use berth_image::formats::Descriptor;
use berth_image::{Error, Reference, Result};
use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};

use crate::net::{Answer, Failure, Payload, Url};
use crate::repository::{Attempt, is_passing};
use crate::{Fetched, Repository};

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// What asking for a blob of another repository has led to.
pub(crate) enum Mounted {
    /// It is there.
    Yes,
    /// It has to be sent, for which this is the place.
    No(Url),
}

impl<'c> Repository<'c> {
    /// Where a blob can be sent to.
    pub(crate) fn begin_upload(&self) -> Result<Url> {
        match self.begin("blobs/uploads/")? {
            Mounted::No(place) => Ok(place),
            Mounted::Yes => Err(Error::InvalidArgument("an upload that has begun has ended".to_owned())),
        }
    }

    /// Asks for a blob that the repository `from` of this registry has.
    pub(crate) fn mount_blob(&self, blob: &Descriptor, from: &str) -> Result<Mounted> {
        self.begin(&format!("blobs/uploads/?mount={}&from={from}", blob.digest))
    }

    fn begin(&self, path: &str) -> Result<Mounted> {
        let url = self.endpoint.url(&self.path(path));
        let answer = self.repeat(&Method::POST, &url, &[], &Bytes::new())?;
        match answer.status.as_u16() {
            201 => Ok(Mounted::Yes),
            202 => self.place(&answer).map(Mounted::No),
            _ => Err(self.refusal(answer, "begin an upload")),
        }
    }

    /// Where an upload goes on: it may be anywhere, but not in the open if the registry is not.
    fn place(&self, answer: &Answer<'_>) -> Result<Url> {
        let place = answer.header(LOCATION).and_then(|location| answer.url.join(location));
        let place = place
            .ok_or_else(|| Error::InvalidArgument(format!("{} takes an upload without saying where", answer.url)))?;
        if !self.client.config.may_lead(&answer.url.origin, &place.origin) {
            return Err(Error::InvalidArgument(format!(
                "{} sends an upload to {place}, which is not encrypted",
                answer.url
            )));
        }
        Ok(place)
    }

    /// Sends all of a blob, whose digest nobody knows before its end, in one piece. Returns where it is to be finished.
    pub(crate) fn send_blob(&self, place: &Url, payload: Payload) -> Result<Url> {
        let mut payload = Some(payload);
        let mut once = || payload.take().unwrap_or_else(Payload::empty);
        let mut attempts = 0;
        let answer = self.send(&Method::PATCH, place, &[(CONTENT_TYPE, OCTETS)], &mut || {
            attempts += 1;
            once()
        })?;
        match answer.status.as_u16() {
            // Asked who we are in the middle of it; now that is known for the next time.
            _ if attempts > 1 => Err(Error::Unreachable(format!("{} has not taken all of the blob", answer.url))),
            202 => self.place(&answer),
            _ if is_passing(answer.status) => {
                Err(Error::Unreachable(format!("{} answers {}", answer.url, answer.status)))
            }
            _ => Err(self.refusal(answer, "send a blob")),
        }
    }

    /// Ends an upload; `rest` is what has not been sent.
    pub(crate) fn finish_upload(&self, place: &Url, blob: &Descriptor, rest: &Bytes) -> Result<()> {
        let url = place.with_query(&format!("digest={}", blob.digest));
        let answer = self.repeat(&Method::PUT, &url, &[(CONTENT_TYPE, OCTETS)], rest)?;
        match answer.status.as_u16() {
            201 | 204 => Ok(()),
            _ => Err(self.refusal(answer, &format!("finish the upload of {}", blob.digest))),
        }
    }

    /// Brings a small blob there, unless it is.
    pub(crate) fn put_blob(&self, blob: &Descriptor, bytes: &Bytes) -> Result<()> {
        if self.has_blob(blob)? {
            return Ok(());
        }
        let place = self.begin_upload()?;
        self.finish_upload(&place, blob, bytes)
    }

    /// Brings an image here that the repository of `from`, on the same registry, has: its blobs and its manifest.
    pub fn borrow_image(&self, from: &Reference, fetched: &Fetched) -> Result<()> {
        if from.path() == self.name.path() {
            return Ok(());
        }
        let manifest = fetched.manifest()?;
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            if !self.has_blob(blob)? && !matches!(self.mount_blob(blob, from.path())?, Mounted::Yes) {
                return Err(Error::Unsupported(format!(
                    "the registry does not hand blob {} of {} on to {}: push the image there first",
                    blob.digest,
                    from.familiar_name(),
                    self.name.familiar_name()
                )));
            }
        }
        let name = self.name.with_digest(fetched.descriptor.digest.clone());
        self.put_manifest(&name, &fetched.descriptor.media_type, &fetched.bytes)
    }

    /// Sends what can be sent again.
    pub(crate) fn repeat(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
        bytes: &Bytes,
    ) -> Result<Answer<'c>> {
        self.client.patiently(2, || match self.send(method, url, headers, &mut || Payload::Bytes(bytes.clone())) {
            Ok(answer) if is_passing(answer.status) => {
                Err(Failure::passing(format!("{} answers {}", answer.url, answer.status)))
            }
            Ok(answer) => Ok(Ok(answer)),
            Err(Attempt::Failed(failure)) => Err(failure),
            Err(Attempt::Refused(error)) => Ok(Err(error)),
        })?
    }
}
