//! Blobs, as streams that go on where a connection broke.

use std::io::{self, Read};
use std::time::Duration;

use berth_image::formats::Descriptor;
use berth_image::{Error, HashingReader, Result, Stop};
use hyper::Method;
use hyper::header::{CONTENT_RANGE, HeaderValue, RANGE};

use crate::Repository;
use crate::net::{Answer, Payload};
use crate::repository::{is_passing, pause};

/// Bytes after which a new break is the first again.
const PROGRESS: u64 = 1 << 20;

impl<'c> Repository<'c> {
    /// The blob from its beginning. `stop` ends waiting.
    pub(crate) fn blob<'r>(&'r self, blob: &'r Descriptor, stop: &'r Stop<'r>) -> Blob<'r, 'c> {
        let source =
            Source { repository: self, blob, stop, answer: None, position: 0, breaks: 0, last: 0, failure: None };
        Blob { stream: HashingReader::new(source) }
    }

    /// A whole small blob.
    pub(crate) fn small_blob(&self, blob: &Descriptor, limit: u64, stop: &Stop<'_>) -> Result<Vec<u8>> {
        if blob.size > limit {
            let message = format!("blob {} has {} bytes, where {limit} are possible", blob.digest, blob.size);
            return Err(Error::InvalidArgument(message));
        }
        let mut stream = self.blob(blob, stop);
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        let object = || format!("blob {}", blob.digest);
        stream.finish(read.map(drop).map_err(|source| Error::Stream { action: "read", object: object(), source }))?;
        Ok(bytes)
    }

    pub(crate) fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        let answer = self.request(Method::HEAD, &self.path(&format!("blobs/{}", blob.digest)), &[], 2)?;
        match answer.status.as_u16() {
            200 => Ok(answer.length().is_none_or(|length| length == blob.size)),
            404 => Ok(false),
            _ => Err(self.refusal(answer, &format!("blob {}", blob.digest))),
        }
    }
}

/// Size and digest are checked by [`Blob::finish`]; more bytes than there are to be are an error at once.
pub(crate) struct Blob<'r, 'c> {
    stream: HashingReader<Source<'r, 'c>>,
}

impl Blob<'_, '_> {
    /// Bytes so far.
    pub(crate) fn position(&self) -> u64 {
        self.stream.get_ref().position
    }

    /// Reads what is left, which whoever unpacks may not have wanted, and says whether the blob was what it was to be. `read` is
    /// what reading it has led to; an error of the registry's is given instead of what it led to.
    pub(crate) fn finish(mut self, read: Result<()>) -> Result<()> {
        let read = read.and_then(|()| {
            io::copy(&mut self.stream, &mut io::sink()).map(drop).map_err(|source| Error::Stream {
                action: "read",
                object: "a blob".to_owned(),
                source,
            })
        });
        if let Some(failure) = self.stream.get_mut().failure.take() {
            return Err(failure);
        }
        let blob = self.stream.get_ref().blob;
        let complete = self.stream.get_ref().position == blob.size;
        match read {
            // What was unpacked may be wrong because the blob is: that comes first.
            Err(error) if !complete => Err(error),
            read => {
                let (digest, _) = self.stream.finish();
                if digest != blob.digest {
                    return Err(Error::InvalidArgument(format!(
                        "blob {} is damaged: its digest is {digest}",
                        blob.digest
                    )));
                }
                read
            }
        }
    }
}

impl Read for Blob<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

struct Source<'r, 'c> {
    repository: &'r Repository<'c>,
    blob: &'r Descriptor,
    stop: &'r Stop<'r>,
    answer: Option<Answer<'c>>,
    position: u64,
    /// Since the last real progress, and where that was.
    breaks: u32,
    last: u64,
    /// What a failed read was about.
    failure: Option<Error>,
}

impl<'c> Source<'_, 'c> {
    /// Asks for what is missing.
    fn open(&mut self) -> std::result::Result<Answer<'c>, Broken> {
        let Descriptor { digest, size, .. } = self.blob;
        let path = self.repository.path(&format!("blobs/{digest}"));
        let mut headers = Vec::new();
        if self.position > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", self.position))
        {
            headers.push((RANGE, range));
        }
        let url = self.repository.endpoint.url(&path);
        let answer = self.repository.send(&Method::GET, &url, &headers, &mut || Payload::empty());
        let mut answer = answer.map_err(|attempt| match attempt {
            crate::repository::Attempt::Failed(failure) if !failure.transient && !failure.connecting => {
                Broken::ForGood(failure.into())
            }
            crate::repository::Attempt::Failed(failure) => Broken::ForNow(failure.message),
            crate::repository::Attempt::Refused(error) => Broken::ForGood(error),
        })?;
        let wrong = |why: String| Broken::ForGood(Error::InvalidArgument(format!("blob {digest}: {why}")));
        match answer.status.as_u16() {
            200 => {
                if let Some(length) = answer.length().filter(|length| length != size) {
                    return Err(wrong(format!("it has {length} bytes and not {size}, which the manifest says")));
                }
                // A server that knows no ranges begins again.
                let skipped = io::copy(&mut (&mut answer).take(self.position), &mut io::sink());
                match skipped {
                    Ok(skipped) if skipped == self.position => Ok(answer),
                    Ok(_) => Err(Broken::ForNow("it ended too early".to_owned())),
                    Err(error) => Err(Broken::ForNow(error.to_string())),
                }
            }
            206 => {
                let start = format!("bytes {}-", self.position);
                if answer.header(CONTENT_RANGE).is_none_or(|range| !range.starts_with(&start)) {
                    return Err(wrong(format!(
                        "asked for what is from byte {} on, something else came",
                        self.position
                    )));
                }
                Ok(answer)
            }
            _ if is_passing(answer.status) => Err(Broken::ForNow(format!("{} answers {}", answer.url, answer.status))),
            _ => Err(Broken::ForGood(self.repository.refusal(answer, &format!("blob {digest}")))),
        }
    }

    /// Whether it is to be tried again, after a pause.
    fn pause(&mut self, why: String) -> std::result::Result<(), Error> {
        self.answer = None;
        if self.position - self.last >= PROGRESS {
            (self.breaks, self.last) = (0, self.position);
        }
        self.breaks += 1;
        if self.breaks > self.repository.client.config.retries {
            let Descriptor { digest, size, .. } = self.blob;
            let message = format!("blob {digest} broke off after {} of {size} bytes: {why}", self.position);
            return Err(Error::Unreachable(message));
        }
        tracing::debug!("blob {} goes on from byte {} after {why}", self.blob.digest, self.position);
        let until = std::time::Instant::now() + pause(self.breaks - 1);
        while std::time::Instant::now() < until && !(self.stop)() {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn next(&mut self, buffer: &mut [u8]) -> std::result::Result<usize, Error> {
        loop {
            if (self.stop)() {
                return Err(Error::Stopped);
            }
            if self.position == self.blob.size {
                // One byte more would be one too many.
                let more = self.answer.as_mut().map(|answer| answer.read(&mut [0]));
                self.answer = None;
                return match more {
                    Some(Ok(1)) => Err(Error::InvalidArgument(format!(
                        "blob {} is longer than {} bytes, which the manifest says",
                        self.blob.digest, self.blob.size
                    ))),
                    _ => Ok(0),
                };
            }
            let mut answer = match self.answer.take() {
                Some(answer) => answer,
                None => match self.open() {
                    Ok(answer) => answer,
                    Err(Broken::ForGood(error)) => return Err(error),
                    Err(Broken::ForNow(why)) => {
                        self.pause(why)?;
                        continue;
                    }
                },
            };
            let left = usize::try_from(self.blob.size - self.position).unwrap_or(usize::MAX);
            let wanted = left.min(buffer.len());
            match answer.read(&mut buffer[..wanted]) {
                Ok(0) => self.pause("it ended too early".to_owned())?,
                Ok(count) => {
                    self.position += count as u64;
                    self.answer = Some(answer);
                    return Ok(count);
                }
                Err(error) => self.pause(error.to_string())?,
            }
        }
    }
}

enum Broken {
    ForNow(String),
    ForGood(Error),
}

impl Read for Source<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.next(buffer).map_err(|error| {
            let message = error.to_string();
            self.failure = Some(error);
            io::Error::other(message)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use berth_image::Digest;

    use super::*;
    use crate::endpoint::Endpoint;
    use crate::net::Url;
    use crate::{Access, Client, Config};

    #[test]
    fn who_asked_for_a_blob_need_not_wait_for_the_last_attempt() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = Url::at(false, &listener.local_addr().unwrap().to_string()).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let head = BufReader::new(&stream).lines().map_while(|line| line.ok().filter(|line| !line.is_empty()));
                head.for_each(drop);
                count.fetch_add(1, Ordering::SeqCst);
                let answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = { &stream }.write_all(answer);
            }
        });
        let client = Client::new(Config { retries: u32::MAX, ..Config::default() }).unwrap();
        let name = "example.com/a".parse().unwrap();
        let repository = client.at(Endpoint { base, mirror: false }, &name, Access::Pull, None).unwrap();
        let blob = Descriptor::new("", Digest::of(b""), 10);
        let outcome = repository.small_blob(&blob, 10, &|| asked.load(Ordering::SeqCst) > 1);
        assert!(matches!(outcome, Err(Error::Stopped)), "{outcome:?}");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}
