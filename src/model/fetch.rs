//! Models from the Hugging Face hub, into its usual cache, where every engine finds them.
//!
//! The crate `hf-hub` speaks with the hub, keeps the cache and goes on with a file that was cut off. Added here: one commit
//! for all files, checksums, an end to waiting, and errors that say what to do.
use std::{
    cell::Cell,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    time::Duration,
};

use hf_hub::{
    Cache, Repo, RepoType,
    api::{
        Progress as HubProgress,
        sync::{Api, ApiBuilder, ApiError, ApiRepo, Metadata},
    },
};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{
    ModelError,
    hub_files::{choose, data_files, inside},
    throttle,
};

/// The environment variable that names another hub.
pub const ENV_ENDPOINT: &str = "HF_ENDPOINT";
/// How often a file that breaks off is gone on with.
const ATTEMPTS: u32 = 4;

/// What to fetch.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Such as `HuggingFaceTB/SmolLM2-135M`.
    pub repo: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// Patterns with `*` and `?` that a file must match one of; all that engines need when empty.
    pub include: Vec<String>,
    /// How long to wait for the next byte.
    pub patience: Duration,
    /// Which kind of repository, and what of it.
    pub wanted: Wanted,
}

/// What is fetched of a repository when no patterns say so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// A model's files that engines need.
    #[default]
    Model,
    /// A dataset's data files: one, or the shards of one.
    Dataset {
        /// A part of the files' path.
        subset: Option<String>,
        /// A part of the files' name.
        split: Option<String>,
    },
}

impl Wanted {
    fn repo_type(&self) -> RepoType {
        match self {
            Self::Model => RepoType::Model,
            Self::Dataset { .. } => RepoType::Dataset,
        }
    }
}

/// How a fetch goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchNews {
    /// A file is begun, or gone on with after `there` of its bytes.
    File {
        /// Its name in the repository.
        name: String,
        /// Its length in bytes.
        bytes: u64,
        /// Bytes that are there already.
        there: u64,
    },
    /// So many more bytes of it have arrived.
    Bytes(u64),
    /// All have; their checksum is being compared.
    Checking,
    /// The hub wants fewer requests, and says for how long: so long is waited.
    Waiting(Duration),
}

enum Message {
    News(FetchNews),
    Done(Result<PathBuf, ModelError>),
}

/// Fetches a model and returns the folder that holds its files. What is in the cache already is not fetched again.
///
/// # Errors
/// [`ModelError::Hub`] when the hub does not give the files or gives other ones, [`ModelError::Unsupported`] for a name
/// that cannot be one, [`ModelError::Storage`].
pub fn fetch(request: &Fetch, news: &mut dyn FnMut(FetchNews)) -> Result<PathBuf, ModelError> {
    check_name(&request.repo, 1, "the name of a repository, such as org/name")?;
    check_name(&request.revision, 8, "a branch, a tag or a commit")?;
    let (sender, messages) = mpsc::channel();
    let own = request.clone();
    // In a thread of its own, because the hub's client waits for ever for a server that says nothing.
    std::thread::spawn(move || {
        let done = Hub::new(&own, sender.clone()).and_then(|hub| hub.fetch(&own));
        let _ = sender.send(Message::Done(done));
    });
    loop {
        match messages.recv_timeout(request.patience) {
            Ok(Message::News(new)) => news(new),
            Ok(Message::Done(done)) => return done,
            Err(RecvTimeoutError::Timeout) => {
                return Err(ModelError::Hub(format!(
                    "{}: {} sent nothing for {} s; what has arrived is kept: run the same command again",
                    request.repo,
                    endpoint(),
                    request.patience.as_secs()
                )));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let why = "the hub's client gave up on an answer that it does not understand";
                return Err(ModelError::Hub(format!("{}: {why}", request.repo)));
            }
        }
    }
}

fn endpoint() -> String {
    std::env::var(ENV_ENDPOINT).unwrap_or_else(|_| "https://huggingface.co".to_owned())
}

/// Names become parts of paths and of addresses.
fn check_name(name: &str, slashes: usize, what: &str) -> Result<(), ModelError> {
    let sound = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    if name.split('/').all(sound) && name.matches('/').count() <= slashes {
        return Ok(());
    }
    Err(ModelError::Unsupported(format!("expected {what}, found '{name}'")))
}

struct Hub {
    api: Api,
    cache: Cache,
    sender: Sender<Message>,
    label: String,
    token: Option<String>,
    /// For a hub that wanted fewer requests.
    waited: Cell<Duration>,
}

impl Hub {
    fn new(request: &Fetch, sender: Sender<Message>) -> Result<Self, ModelError> {
        if std::env::var_os("HF_HUB_OFFLINE").is_some_and(|value| value != "0" && !value.is_empty()) {
            return Err(ModelError::Hub("HF_HUB_OFFLINE is set, so nothing is fetched: unset it to go on".into()));
        }
        let mut builder =
            ApiBuilder::from_env().with_progress(false).with_user_agent("tacho", env!("CARGO_PKG_VERSION"));
        let token = std::env::var("HF_TOKEN").ok().filter(|token| !token.is_empty());
        if std::env::var_os("HF_TOKEN").is_some() {
            builder = builder.with_token(token.clone());
        }
        let api =
            builder.build().map_err(|error| ModelError::Hub(format!("the hub's client cannot start: {error}")))?;
        let label = format!("{} ({})", request.repo, request.revision);
        let cache = Cache::from_env();
        // As hf-hub does where HF_TOKEN is not set.
        let token = token.or_else(|| std::env::var_os("HF_TOKEN").is_none().then(|| cache.token()).flatten());
        Ok(Self { api, cache, sender, label, token, waited: Cell::default() })
    }

    /// Asks until the hub no longer wants fewer requests.
    fn ask<T>(&self, label: &str, url: &str, ask: impl Fn() -> Result<T, ApiError>) -> Result<T, ModelError> {
        loop {
            match ask() {
                Ok(answer) => return Ok(answer),
                Err(error) if throttle::is_throttle(&error) => self.wait(label, url, &error)?,
                Err(error) => return Err(self.explain(label, &error)),
            }
        }
    }

    /// Waits as long as the hub says, unless it says nothing or too long a time.
    fn wait(&self, label: &str, url: &str, error: &ApiError) -> Result<(), ModelError> {
        let Some(time) = throttle::retry_after(url, self.token.as_deref()) else {
            return Err(self.explain(label, error));
        };
        let waited = self.waited.get() + time;
        if waited > throttle::MOST {
            return Err(ModelError::Hub(format!(
                "{label}: {} wants fewer requests (429) and {} s of waiting, more than the {} s that are waited in all: run the \
                 same command again then; a token in HF_TOKEN raises the limit",
                endpoint(),
                time.as_secs(),
                throttle::MOST.as_secs()
            )));
        }
        self.waited.set(waited);
        self.say(FetchNews::Waiting(time));
        for _ in 0..time.as_secs() {
            std::thread::sleep(Duration::from_secs(1));
            // Who listens would think that the hub says nothing.
            self.say(FetchNews::Bytes(0));
        }
        Ok(())
    }

    fn fetch(&self, request: &Fetch) -> Result<PathBuf, ModelError> {
        let at =
            |revision: &str| Repo::with_revision(request.repo.clone(), request.wanted.repo_type(), revision.to_owned());
        let url = format!("{}/api/{}", endpoint(), at(&request.revision).api_url());
        let info = self.ask(&self.label, &url, || self.api.repo(at(&request.revision)).info())?;
        if info.sha.len() != 40 || !is_hex(&info.sha) {
            return Err(ModelError::Hub(format!("{}: the hub names no commit", self.label)));
        }
        let names: Vec<String> = info.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        let wanted = match &request.wanted {
            Wanted::Dataset { subset, split } => {
                inside(&names).and_then(|()| data_files(&names, subset.as_deref(), split.as_deref()))
            }
            Wanted::Model => choose(&names, &request.include),
        };
        let wanted = wanted.map_err(|why| ModelError::Hub(format!("{}: {why}", self.label)))?;
        // All of one commit, though the branch may move meanwhile.
        let repo = self.api.repo(at(&info.sha));
        let folder = self.cache.repo(at(&info.sha)).pointer_path(&info.sha);
        for name in wanted {
            self.file(&repo, &at(&info.sha), &folder, name)?;
        }
        // By which other programs find the commit of a branch without asking the hub.
        self.cache
            .repo(at(&request.revision))
            .create_ref(&info.sha)
            .map_err(|error| ModelError::storage(&folder, "noted", &error))?;
        Ok(folder)
    }

    fn file(&self, repo: &ApiRepo, place: &Repo, folder: &Path, name: &str) -> Result<(), ModelError> {
        let label = format!("{}: {name}", self.label);
        let meta = self.ask(&label, &repo.url(name), || self.api.metadata(&repo.url(name)))?;
        if !is_hex(meta.etag()) || !matches!(meta.etag().len(), 40 | 64) {
            return Err(ModelError::Hub(format!("{label}: the hub names no checksum for it")));
        }
        let (blob, pointer) = (self.cache.repo(place.clone()).blob_path(meta.etag()), folder.join(name));
        let size = meta.size() as u64;
        let length = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        if pointer.is_file() && length(&pointer) == size {
            return Ok(());
        }
        let part = blob.with_extension("part");
        let mut attempt = 1;
        loop {
            self.say(FetchNews::File { name: name.to_owned(), bytes: size, there: length(&part).min(size) });
            let done = repo.download_with_progress(name, Ticker { sender: &self.sender, seen: 0 });
            match done {
                Ok(_) if length(&blob) < size => {
                    // The connection was closed early and nobody minded: it is a part still.
                    let kept = fs::remove_file(&pointer).and_then(|()| fs::rename(&blob, &part));
                    kept.map_err(|error| ModelError::storage(&blob, "kept as a part", &error))?;
                }
                Ok(_) => return self.check(&label, &meta, &blob, &pointer),
                Err(error) if throttle::is_throttle(&error) => {
                    self.wait(&label, &repo.url(name), &error)?;
                    continue;
                }
                Err(error) if is_fatal(&error) => return Err(self.explain(&label, &error)),
                Err(ApiError::InvalidResume) => forget(&[&part])?,
                Err(ApiError::RequestError(error)) if matches!(*error, ureq::Error::StatusCode(416)) => {
                    forget(&[&part])?
                }
                Err(error) if attempt == ATTEMPTS => return Err(self.explain(&label, &error)),
                Err(_) => {}
            }
            if attempt == ATTEMPTS {
                return Err(ModelError::Hub(format!(
                    "{label}: {} of {size} bytes arrived in {ATTEMPTS} attempts; they are kept: run the same command again",
                    length(&part)
                )));
            }
            std::thread::sleep(Duration::from_millis(250 << attempt));
            attempt += 1;
        }
    }

    /// Compares a whole file with what the hub said of it: SHA-256 for large files, git's hash for small ones.
    fn check(&self, label: &str, meta: &Metadata, blob: &Path, pointer: &Path) -> Result<(), ModelError> {
        self.say(FetchNews::Checking);
        let hash = |git: bool| -> std::io::Result<String> {
            let mut file = File::open(blob)?;
            let length = file.metadata()?.len();
            let (mut sha1, mut sha256) = (Sha1::new(), Sha256::new());
            sha1.update(format!("blob {length}\0"));
            let mut buffer = vec![0; 1 << 20];
            loop {
                let count = file.read(&mut buffer)?;
                if count == 0 {
                    break;
                }
                if git {
                    sha1.update(&buffer[..count])
                } else {
                    sha256.update(&buffer[..count])
                }
                self.say(FetchNews::Bytes(0));
            }
            Ok(if git { hex(&sha1.finalize()) } else { hex(&sha256.finalize()) })
        };
        let found = hash(meta.etag().len() == 40).map_err(|error| ModelError::storage(blob, "read", &error))?;
        if found == meta.etag() {
            return Ok(());
        }
        forget(&[blob, pointer])?;
        let (expected, size) = (meta.etag(), meta.size());
        Err(ModelError::Hub(format!(
            "{label}: expected {size} bytes with the checksum {expected}, found {found}; it was removed: run the same \
             command again"
        )))
    }

    fn say(&self, news: FetchNews) {
        let _ = self.sender.send(Message::News(news));
    }

    fn explain(&self, label: &str, error: &ApiError) -> ModelError {
        let endpoint = endpoint();
        ModelError::Hub(match error {
            ApiError::RequestError(error) => match &**error {
                ureq::Error::StatusCode(404) => {
                    format!("{label}: {endpoint} has none of that name (404): check the spelling and the revision")
                }
                ureq::Error::StatusCode(code @ (401 | 403)) => format!(
                    "{label}: {endpoint} does not give it to us ({code}): it does not exist, or it is private or needs its \
                     terms accepted; then set HF_TOKEN to a token of an account that may read it"
                ),
                ureq::Error::StatusCode(429) => format!(
                    "{label}: {endpoint} wants fewer requests (429): wait some minutes and run the same command again; \
                     a token in HF_TOKEN raises the limit"
                ),
                ureq::Error::StatusCode(code) => {
                    format!("{label}: {endpoint} answered with the status {code}: try again later")
                }
                ureq::Error::Json(error) => format!("{label}: {endpoint} answered with no list of files: {error}"),
                error => format!(
                    "{label}: {endpoint} cannot be reached, or broke off: {error}; check the network, or name another hub \
                     by {ENV_ENDPOINT}"
                ),
            },
            ApiError::IoError(error) => {
                format!("{label}: broke off: {error}; what has arrived is kept: run the same command again")
            }
            ApiError::LockAcquisition(path) => {
                format!("{label}: another program is fetching it (it holds {})", path.display())
            }
            error => format!("{label}: {endpoint} gave an answer that is not understood: {error}"),
        })
    }
}

/// Whether trying again cannot help.
fn is_fatal(error: &ApiError) -> bool {
    match error {
        ApiError::RequestError(error) => {
            matches!(**error, ureq::Error::StatusCode(code) if code != 416 && code < 500)
        }
        ApiError::IoError(_) | ApiError::InvalidResume => false,
        _ => true,
    }
}

fn forget(paths: &[&Path]) -> Result<(), ModelError> {
    for path in paths {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ModelError::storage(path, "removed", &error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Passes on how a download goes.
struct Ticker<'a> {
    sender: &'a Sender<Message>,
    seen: u32,
}

impl HubProgress for Ticker<'_> {
    fn init(&mut self, _: usize, _: &str) {
        self.seen = 0;
    }

    fn update(&mut self, size: usize) {
        self.seen += 1;
        // First comes what was there before, which the beginning of the file has told.
        if self.seen > 1 {
            let _ = self.sender.send(Message::News(FetchNews::Bytes(size as u64)));
        }
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_names_are_refused() {
        for name in ["", "a/b/c", "../x", "a/..", "a b", "a/", "x?y"] {
            assert!(check_name(name, 1, "a name").is_err(), "{name}");
        }
        assert!(check_name("HuggingFaceTB/SmolLM2-135M", 1, "").is_ok());
        assert!(check_name("refs/pr/7", 8, "").is_ok());
    }
}
