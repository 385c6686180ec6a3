//! Manifests and indexes.

use berth_image::formats::{DOCKER_LIST, DOCKER_MANIFEST, Descriptor, INDEX, Index, MANIFEST, Manifest};
use berth_image::{Digest, Error, Reference, Result};
use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LINK};
use serde::Deserialize;

use crate::Repository;
use crate::net::Payload;

/// Bytes; what registries take, and so what they can have.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
/// Of all pages of a list of tags.
const MAX_TAGS: usize = 10_000;
/// From before digests of images were what they are; answered where a registry has nothing else.
const SCHEMA_1: &[&str] = &[
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// A document of a registry, and what it is.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// With the size, and the platform if an index has said it.
    pub descriptor: Descriptor,
    /// The exact bytes.
    pub bytes: Vec<u8>,
}

impl Fetched {
    pub fn is_index(&self) -> bool {
        [INDEX, DOCKER_LIST].contains(&self.descriptor.media_type.as_str())
    }

    pub fn index(&self) -> Result<Index> {
        self.decode("index")
    }

    pub fn manifest(&self) -> Result<Manifest> {
        self.decode("manifest")
    }

    fn decode<T: for<'d> Deserialize<'d>>(&self, what: &str) -> Result<T> {
        serde_json::from_slice(&self.bytes).map_err(|error| {
            Error::InvalidArgument(format!("the {what} {} makes no sense: {error}", self.descriptor.digest))
        })
    }
}

/// By a digest before a tag.
fn key(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    }
}

impl Repository<'_> {
    /// The manifest or index that `reference` (of this repository) means.
    pub fn manifest(&self, reference: &Reference) -> Result<Fetched> {
        let key = key(reference);
        let what = format!("manifest for {}", reference.familiar());
        let accept = HeaderValue::from_str(&[MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST].join(", "));
        let accept = accept.map_err(|_| Error::InvalidArgument("invalid media type".to_owned()))?;
        let path = self.path(&format!("manifests/{key}"));
        let answer = self.request(Method::GET, &path, &[(ACCEPT, accept)], 2)?;
        if !answer.status.is_success() {
            return Err(self.refusal(answer, &what));
        }
        let stated = answer.header("docker-content-digest").map(str::to_owned);
        let media_type = answer.header(CONTENT_TYPE).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let bytes = answer.collect(MAX_MANIFEST, "the manifest")?;
        let digest = Digest::of(&bytes);
        let wanted = reference.digest().map(Digest::to_string).or(stated);
        if let Some(wanted) = wanted.filter(|wanted| wanted.starts_with("sha256:") && *wanted != digest.as_str()) {
            return Err(Error::InvalidArgument(format!("{what} is damaged: its digest is {digest} and not {wanted}")));
        }
        let media_type = media_type_of(&bytes, media_type)?;
        if SCHEMA_1.contains(&media_type.as_str()) {
            return Err(Error::Unsupported(format!(
                "{what} is of schema 1, which registries have given up; push the image again with an engine of today"
            )));
        }
        if ![MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST].contains(&media_type.as_str()) {
            return Err(Error::Unsupported(format!("{what} is no image but {:?}", media_type)));
        }
        let size = bytes.len() as u64;
        Ok(Fetched { descriptor: Descriptor::new(&media_type, digest, size), bytes })
    }

    /// What an index names.
    pub fn child(&self, descriptor: &Descriptor) -> Result<Fetched> {
        let mut fetched = self.manifest(&self.name.with_digest(descriptor.digest.clone()))?;
        if fetched.descriptor.size != descriptor.size {
            return Err(Error::InvalidArgument(format!(
                "manifest {} has {} bytes and not {}, which the index says",
                descriptor.digest, fetched.descriptor.size, descriptor.size
            )));
        }
        fetched.descriptor.platform = descriptor.platform.clone();
        Ok(fetched)
    }

    /// Puts a manifest or index, whose parts are there, under the tag or digest of `reference`.
    pub fn put_manifest(&self, reference: &Reference, media_type: &str, bytes: &[u8]) -> Result<()> {
        let what = format!("put the manifest of {}", reference.familiar());
        let url = self.endpoint.url(&self.path(&format!("manifests/{}", key(reference))));
        let kind = HeaderValue::from_str(media_type)
            .map_err(|_| Error::InvalidArgument(format!("invalid media type {media_type:?}")))?;
        let bytes = Bytes::copy_from_slice(bytes);
        let answer = self.repeat(&Method::PUT, &url, &[(CONTENT_TYPE, kind)], &bytes)?;
        if answer.status.is_success() { Ok(()) } else { Err(self.refusal(answer, &what)) }
    }

    /// All tags of the repository.
    pub(crate) fn tags(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let mut tags: Vec<String> = Vec::new();
        let mut url = self.endpoint.url(&self.path("tags/list"));
        loop {
            let answer = self.send(&Method::GET, &url, &[], &mut || Payload::empty()).map_err(Error::from)?;
            if !answer.status.is_success() {
                return Err(self.refusal(answer, &format!("tags of {}", self.name.familiar_name())));
            }
            // `<URL>; rel="next"` (RFC 8288).
            let next = answer.header(LINK).and_then(|link| Some(link.split_once('<')?.1.split_once('>')?.0.to_owned()));
            let base = answer.url.clone();
            let page: Page = serde_json::from_slice(&answer.collect(MAX_MANIFEST, "the list of tags")?)
                .map_err(|error| Error::InvalidArgument(format!("the list of tags makes no sense: {error}")))?;
            let page = page.tags.unwrap_or_default();
            let last = page.is_empty();
            tags.extend(page);
            if tags.len() > MAX_TAGS {
                return Err(Error::InvalidArgument(format!(
                    "{} has more than {MAX_TAGS} tags; name those that are wanted",
                    self.name.familiar_name()
                )));
            }
            match next.and_then(|next| base.join(&next)) {
                Some(next) if !last && next.origin == self.endpoint.base.origin => url = next,
                _ => return Ok(tags),
            }
        }
    }
}

/// What the document says it is; where it says nothing, what the registry does.
fn media_type_of(bytes: &[u8], stated: String) -> Result<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        #[serde(default)]
        media_type: String,
        #[serde(default)]
        schema_version: u64,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let kind: Kind = serde_json::from_slice(bytes)
        .map_err(|error| Error::InvalidArgument(format!("the manifest makes no sense: {error}")))?;
    Ok(match () {
        () if !kind.media_type.is_empty() => kind.media_type,
        () if kind.schema_version == 1 => SCHEMA_1[0].to_owned(),
        () if kind.manifests.is_some() => INDEX.to_owned(),
        () if [MANIFEST, DOCKER_MANIFEST].contains(&stated.as_str()) => stated,
        () => MANIFEST.to_owned(),
    })
}
