//! Finding and fetching models, against a server in this file that speaks the Hub's protocol, well or badly.

use crate::files;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use files::{directory, listing, safetensors, stored};
use lopper::checkpoint::Checkpoint;
use lopper::hub::{HubSettings, Split, Transfer, locate_with, split_files};
use lopper::{Error, Result};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Length that a body is cut to by [`Fault::Cut`].
const CUT: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Every answer with this status and error code.
    Refuse(u16, &'static str),
    /// Weights end after some bytes, this many times.
    Cut(usize),
    /// The server ignores ranges, and cuts the first body.
    CutWithoutRanges(usize),
    /// One bit of the weights is wrong.
    Damage,
}

/// A Hub with one model, `owner/name`.
struct Hub {
    address: String,
    /// `METHOD path range=… authorization=…` of every request.
    requests: Arc<Mutex<Vec<String>>>,
    fault: Arc<Mutex<Fault>>,
}

#[derive(Debug, Default)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cut: Option<usize>,
}

/// The files of a model and how the server describes it.
#[derive(Clone)]
struct Model {
    files: BTreeMap<String, Vec<u8>>,
    commit: String,
    etag: Option<String>,
}

impl Hub {
    fn serve(model: Model) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (requests, fault) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Fault::None)));
        let store = address.replace("127.0.0.1", "localhost");
        let (log, state) = (requests.clone(), fault.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let (line, headers) = read_request(&stream);
                let value = |name: &str| headers.get(name).cloned().unwrap_or_default();
                log.lock().unwrap().push(format!(
                    "{line} range={} authorization={}",
                    value("range"),
                    value("authorization")
                ));
                let (method, path) = line.split_once(' ').unwrap();
                let answer = answer(&model, &mut state.lock().unwrap(), &store, path, headers.get("range"));
                write_answer(stream, method, &answer);
            }
        });
        Self { address, requests, fault }
    }

    fn settings(&self, cache: &Path) -> HubSettings {
        HubSettings { endpoint: self.address.clone(), token: None, cache: cache.to_owned(), offline: false }
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// The requests so far, forgotten with the call.
    fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

fn read_request(stream: &TcpStream) -> (String, BTreeMap<String, String>) {
    let mut lines = BufReader::new(stream).lines().map_while(std::io::Result::ok);
    let first = lines.next().unwrap_or_default();
    let mut words = first.split(' ');
    let line = format!("{} {}", words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_lowercase(), value.to_owned()))
    });
    (line, headers.collect())
}

fn write_answer(mut stream: TcpStream, method: &str, answer: &Answer) {
    let mut head =
        format!("HTTP/1.1 {} X\r\nconnection: close\r\ncontent-length: {}\r\n", answer.status, answer.body.len());
    let fields: Vec<String> = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    head.push_str(&fields.concat());
    // The client may hang up first; that is its right.
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
    if method != "HEAD" {
        let _ = stream.write_all(&answer.body[..answer.cut.unwrap_or(answer.body.len()).min(answer.body.len())]);
    }
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let digits: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// What the Hub answers. Weights are redirected to a store under another host name, as large files are.
fn answer(model: &Model, fault: &mut Fault, store: &str, path: &str, range: Option<&String>) -> Answer {
    if let Fault::Refuse(status, code) = *fault {
        return Answer { status, headers: vec![("x-error-code".into(), code.into())], ..Answer::default() };
    }
    let data_set = path.starts_with("/api/datasets/owner/set/revision/refs%2Fconvert%2Fparquet");
    if data_set || path.starts_with("/api/models/owner/name/revision/") {
        let siblings: Vec<String> = model.files.keys().map(|file| format!(r#"{{"rfilename":"{file}"}}"#)).collect();
        let body = format!(r#"{{"id":"owner/name","sha":"{}","siblings":[{}]}}"#, model.commit, siblings.join(","));
        return Answer { status: 200, body: body.into(), ..Answer::default() };
    }
    // of nested files the whole path, as long as nothing has to be escaped
    let found = model.files.iter().find(|(file, _)| path.ends_with(&format!("/{file}")));
    let Some((name, contents)) = found.filter(|_| !path.contains("%2F")) else {
        return Answer { status: 404, ..Answer::default() };
    };
    if path.starts_with("/store/") {
        return stored_file(contents, fault, range);
    }
    let weights = name.ends_with(".safetensors") || name.ends_with(".parquet");
    let hash = if weights { sha256(contents) } else { sha256(contents)[..40].to_owned() };
    let etag = format!("\"{}\"", model.etag.clone().unwrap_or(hash));
    let mut headers = vec![("x-repo-commit".to_owned(), model.commit.clone())];
    if !weights {
        headers.push(("etag".into(), etag));
        return Answer { status: 200, headers, body: contents.clone(), cut: None };
    }
    headers.push(("location".into(), format!("{store}/store/{name}")));
    headers.push(("x-linked-etag".into(), etag));
    headers.push(("x-linked-size".into(), contents.len().to_string()));
    Answer { status: 302, headers, body: b"Found".to_vec(), cut: None }
}

fn stored_file(contents: &[u8], fault: &mut Fault, range: Option<&String>) -> Answer {
    let start =
        range.map_or(0, |range| range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap());
    let (cut, ranges) = match *fault {
        Fault::Cut(times) if times > 0 => {
            *fault = Fault::Cut(times - 1);
            (Some(CUT), true)
        }
        Fault::CutWithoutRanges(times) => {
            *fault = Fault::CutWithoutRanges(times.saturating_sub(1));
            ((times > 0).then_some(CUT), false)
        }
        _ => (None, true),
    };
    let mut body = contents.to_vec();
    if *fault == Fault::Damage {
        *body.last_mut().unwrap() ^= 1;
    }
    if range.is_some() && ranges {
        return Answer { status: 206, headers: Vec::new(), body: body.split_off(start), cut };
    }
    Answer { status: 200, headers: Vec::new(), body, cut }
}

fn model() -> Model {
    let mut files = BTreeMap::new();
    let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    files.insert(one.into(), safetensors(&[stored("a", "F32", &[100])]));
    files.insert(two.into(), safetensors(&[stored("b", "F32", &[200])]));
    files.insert(
        "model.safetensors.index.json".into(),
        format!(r#"{{"weight_map":{{"a":"{one}","b":"{two}"}}}}"#).into(),
    );
    for name in ["config.json", "tokenizer.json", "README.md"] {
        files.insert(name.into(), format!(r#"{{"name":"{name}"}}"#).into());
    }
    for name in ["pytorch_model.bin", "onnx/model.onnx", ".gitattributes", "consolidated.safetensors"] {
        files.insert(name.into(), b"not wanted".to_vec());
    }
    Model { files, commit: COMMIT.into(), etag: None }
}

/// A data set of three configurations, one split in two parts.
fn data_set() -> Model {
    let files = ["default/test/0000.parquet", "default/test/0001.parquet", "default/train/0000.parquet"];
    let others = ["other/test/0000.parquet", "other/partial-train/0000.parquet", "third/test/README.md"];
    let all = files.iter().chain(&others).map(|&file| (file.to_owned(), format!("{file} {}", "x".repeat(200)).into()));
    Model { files: all.collect(), commit: COMMIT.into(), etag: None }
}

fn split<'a>(configuration: &'a str, name: &'a str) -> Split<'a> {
    Split { data_set: "owner/set", configuration, name }
}

fn fetch(settings: &HubSettings) -> Result<PathBuf> {
    locate_with("owner/name", settings, &mut |_| {})
}

/// Message and hint of the error that fetching must give.
fn refusal(settings: &HubSettings) -> (String, String) {
    let error = fetch(settings).unwrap_err();
    assert!(matches!(error, Error::Hub { .. }) && error.is_machine(), "{error:?}");
    (error.to_string(), error.hint().unwrap_or_default().to_owned())
}

fn snapshot(cache: &Path) -> PathBuf {
    cache.join("models--owner--name/snapshots").join(COMMIT)
}

#[test]
fn a_model_is_fetched_once_and_then_found() {
    let hub = Hub::serve(model());
    let cache = directory();
    let mut settings = hub.settings(cache.path());
    settings.token = Some("secret".into());
    let mut last = BTreeMap::new();
    let mut note = |transfer: Transfer| {
        last.insert(transfer.file.to_owned(), (transfer.done, transfer.total));
    };
    let found = locate_with("owner/name", &settings, &mut note).unwrap();

    assert_eq!(found, snapshot(cache.path()));
    let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    assert_eq!(
        listing(&found),
        ["README.md", "config.json", one, two, "model.safetensors.index.json", "tokenizer.json"]
    );
    for (name, contents) in model().files.iter().filter(|(name, _)| found.join(name).exists()) {
        assert_eq!(&fs::read(found.join(name)).unwrap(), contents);
        assert_eq!(last[name], (contents.len() as u64, Some(contents.len() as u64)));
    }
    assert_eq!(Checkpoint::open(&found).unwrap().names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(fs::read_to_string(cache.path().join("models--owner--name/refs/main")).unwrap(), COMMIT);
    assert!(cache.path().join("models--owner--name/blobs").join(sha256(&model().files[one])).is_file());
    for request in hub.take_requests() {
        let secret = request.ends_with("authorization=Bearer secret");
        assert_eq!(secret, !request.contains("/store/"), "the token is for the Hub alone: {request}");
    }

    settings.offline = true;
    for id in ["owner/name".to_owned(), "owner/name@main".into(), format!("owner/name@{COMMIT}")] {
        assert_eq!(locate_with(&id, &settings, &mut |_| {}).unwrap(), found);
    }
    assert_eq!(hub.take_requests(), [""; 0]);
}

#[test]
fn a_local_directory_is_taken_as_it_stands() {
    let dir = directory();
    let settings =
        HubSettings { endpoint: "http://127.0.0.1:9".into(), token: None, cache: dir.path().into(), offline: false };
    let path = dir.path().to_str().unwrap();
    assert_eq!(locate_with(path, &settings, &mut |_| {}).unwrap(), dir.path());
    let error = locate_with(&format!("{path}/absent"), &settings, &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Checkpoint { .. }) && error.hint().unwrap().contains("owner/name"), "{error}");
}

#[test]
fn refusals_say_what_is_missing() {
    let hub = Hub::serve(model());
    let cache = directory();
    let mut settings = hub.settings(cache.path());
    let mut check = |status: u16, code: &'static str, token: bool, problem: &str, advice: &str| {
        hub.set(Fault::Refuse(status, code));
        settings.token = token.then(|| "secret".into());
        let (message, hint) = refusal(&settings);
        assert!(message.contains("owner/name at http://127.0.0.1") && message.contains(problem), "{message}");
        assert!(hint.contains(advice), "{hint}");
        assert!(!message.contains("secret") && !hint.contains("secret"));
    };
    check(401, "RepoNotFound", false, "no access (401", "HF_TOKEN");
    check(401, "GatedRepo", true, "no access (401", "accept the terms at http");
    check(403, "GatedRepo", true, "no access (403", "accept the terms at http");
    check(404, "RepoNotFound", true, "not found (404", "check the name");
    check(404, "RevisionNotFound", false, "no revision `main`", "branches and tags");
    check(429, "", false, "too many requests", "wait");
    check(503, "", false, "the server failed (503", "local directory");
    assert_eq!(listing(cache.path()), [""; 0]);
}

#[test]
fn a_server_that_is_down_leads_to_a_local_directory() {
    let cache = directory();
    // A port that was free a moment ago and that nobody listens on.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut settings =
        HubSettings { endpoint: format!("http://{address}"), token: None, cache: cache.path().into(), offline: false };
    let (message, hint) = refusal(&settings);
    assert!(
        message.contains(&format!("cannot reach http://{address}")) && hint.contains("give the directory"),
        "{message} / {hint}"
    );
    settings.offline = true;
    let (message, hint) = refusal(&settings);
    assert!(message.contains("HF_HUB_OFFLINE forbids") && hint.contains("unset HF_HUB_OFFLINE"), "{message} / {hint}");
}

#[test]
fn a_model_without_safetensors_says_what_it_has() {
    let mut without = model();
    without.files.retain(|name, _| !name.contains("safetensors"));
    let hub = Hub::serve(without);
    let cache = directory();
    let (message, hint) = refusal(&hub.settings(cache.path()));
    assert!(
        message
            .contains("owner/name has no model.safetensors and no model.safetensors.index.json, only PyTorch weights (pytorch_model.bin)"),
        "{message}"
    );
    assert!(hint.contains("safe_serialization=True"));
}

#[test]
fn a_shard_that_the_server_lacks_is_named() {
    let mut without = model();
    without.files.remove("model-00002-of-00002.safetensors");
    let hub = Hub::serve(without);
    let cache = directory();
    let settings = hub.settings(cache.path());
    assert!(refusal(&settings).0.contains("model-00002-of-00002.safetensors of owner/name"));
    // What is there is no model, and is not taken for one.
    assert!(!cache.path().join("models--owner--name/refs/main").exists());
    let offline = HubSettings { offline: true, ..settings };
    assert!(refusal(&offline).0.contains("not complete in the cache"));
}

#[test]
fn a_broken_connection_is_resumed_where_it_broke() {
    let hub = Hub::serve(model());
    let cache = directory();
    hub.set(Fault::Cut(2));
    let found = fetch(&hub.settings(cache.path())).unwrap();
    assert!(Checkpoint::open(&found).is_ok());
    let requests = hub.take_requests();
    for start in [CUT, 2 * CUT] {
        let resumed = requests.iter().any(|request| {
            request.contains("/store/model-00001") && request.contains(&format!("range=bytes={start}-"))
        });
        assert!(resumed, "{requests:?}");
    }
}

#[test]
fn a_server_without_ranges_is_asked_from_the_start() {
    let hub = Hub::serve(model());
    let cache = directory();
    hub.set(Fault::CutWithoutRanges(1));
    let found = fetch(&hub.settings(cache.path())).unwrap();
    for (name, contents) in model().files.iter().filter(|(name, _)| name.starts_with("model-")) {
        assert_eq!(&fs::read(found.join(name)).unwrap(), contents);
    }
}

#[test]
fn an_interrupted_download_leaves_no_file_that_looks_whole() {
    let hub = Hub::serve(model());
    let cache = directory();
    let settings = hub.settings(cache.path());
    hub.set(Fault::Cut(4));
    let (message, hint) = refusal(&settings);
    let shard = "model-00001-of-00002.safetensors";
    let size = model().files[shard].len();
    assert!(message.contains(&format!("{shard} of owner/name stopped after 400 of {size} bytes")), "{message}");
    assert!(hint.contains("run again"));
    let blob = sha256(&model().files[shard]);
    let blobs = cache.path().join("models--owner--name/blobs");
    assert!(!snapshot(cache.path()).join(shard).exists() && !blobs.join(&blob).exists());
    assert_eq!(fs::metadata(blobs.join(format!(".{blob}.part"))).unwrap().len(), 400);

    hub.take_requests();
    hub.set(Fault::None);
    assert!(Checkpoint::open(&fetch(&settings).unwrap()).is_ok());
    let requests = hub.take_requests();
    assert!(requests.iter().any(|request| request.contains("range=bytes=400-")), "{requests:?}");
    assert!(!requests.iter().any(|request| request.contains("config.json")), "what is there is not fetched again");
    assert!(!listing(&blobs).iter().any(|name| name.starts_with('.')), "nothing unfinished stays");
}

#[test]
fn damaged_weights_are_found_and_removed() {
    let hub = Hub::serve(model());
    let cache = directory();
    hub.set(Fault::Damage);
    let (message, hint) = refusal(&hub.settings(cache.path()));
    assert!(
        message.contains("model-00001-of-00002.safetensors arrived damaged") && hint.contains("run again"),
        "{message}"
    );
    let blobs = listing(&cache.path().join("models--owner--name/blobs"));
    assert!(blobs.iter().all(|name| name.len() == 40), "{blobs:?}");
    hub.set(Fault::None);
    assert!(fetch(&hub.settings(cache.path())).is_ok());
}

#[test]
fn a_malicious_server_writes_nothing_outside_the_cache() {
    let root = directory();
    let cache = root.path().join("a/b/c/cache");
    let evil = b"evil".to_vec();
    let mut paths = model();
    for name in ["../../../../../evil.json", "/evil.json", "..\\\\evil.json", "x/../../evil.json"] {
        paths.files.insert(name.into(), evil.clone());
    }
    let mut index = model();
    index.files.insert(
        "model.safetensors.index.json".into(),
        br#"{"weight_map":{"a":"../../../../evil.safetensors"}}"#.to_vec(),
    );
    index.files.insert("evil.safetensors".into(), evil.clone());
    let etag = Model { etag: Some("../../../../evil".into()), ..model() };
    let commit = Model { commit: "../../../../evil".into(), ..model() };
    let expected = [true, false, true, false];
    for (model, success) in [paths, index, etag, commit].into_iter().zip(expected) {
        let hub = Hub::serve(model);
        assert_eq!(fetch(&hub.settings(&cache)).is_ok(), success);
        assert_eq!(listing(root.path()), ["a"]);
        assert_eq!(listing(&root.path().join("a/b/c")), ["cache"]);
        assert_eq!(listing(&cache), ["models--owner--name"]);
        assert!(
            listing(&cache.join("models--owner--name"))
                .iter()
                .all(|name| ["blobs", "refs", "snapshots"].contains(&name.as_str()))
        );
        fs::remove_dir_all(&cache).unwrap();
        fs::create_dir_all(&cache).unwrap();
        fs::create_dir_all(cache.join("models--owner--name")).unwrap();
    }
}

#[test]
fn what_python_downloaded_is_used() {
    let cache = directory();
    let settings =
        HubSettings { endpoint: "http://127.0.0.1:9".into(), token: None, cache: cache.path().into(), offline: false };
    let dir = snapshot(cache.path());
    fs::create_dir_all(&dir).unwrap();
    fs::create_dir_all(cache.path().join("models--owner--name/refs")).unwrap();
    fs::write(cache.path().join("models--owner--name/refs/main"), format!("{COMMIT}\n")).unwrap();
    fs::write(dir.join("config.json"), "{}").unwrap();
    fs::write(dir.join("model.safetensors"), safetensors(&[stored("a", "F32", &[1])])).unwrap();
    // Without a tokenizer the Hub is asked, unless that is forbidden.
    assert!(matches!(fetch(&settings), Err(Error::Hub { .. })));
    assert_eq!(fetch(&HubSettings { offline: true, ..settings.clone() }).unwrap(), dir);
    fs::write(dir.join("tokenizer.json"), "{}").unwrap();
    assert_eq!(fetch(&settings).unwrap(), dir);
}

#[test]
fn a_split_of_a_data_set_is_fetched_once_and_then_found() {
    let hub = Hub::serve(data_set());
    let cache = directory();
    let mut settings = hub.settings(cache.path());
    let fetch = |configuration, name| split_files(&split(configuration, name), &settings, &mut |_| {});
    let snapshot = cache.path().join("datasets--owner--set/snapshots").join(COMMIT);
    let parts = ["0000.parquet", "0001.parquet"].map(|part| snapshot.join("default/test").join(part));
    assert_eq!(fetch("other", "test").unwrap(), [snapshot.join("other/test/0000.parquet")]);
    assert_eq!(fetch("", "test").unwrap(), parts, "the default configuration, where there is one");
    for part in &parts {
        let name = part.strip_prefix(&snapshot).unwrap().to_str().unwrap();
        assert_eq!(fs::read(part).unwrap(), data_set().files[name]);
    }
    assert_eq!(fetch("", "train").unwrap(), [snapshot.join("default/train/0000.parquet")], "the only one that has it");
    hub.take_requests();
    settings.offline = true;
    assert_eq!(split_files(&split("", "test"), &settings, &mut |_| {}).unwrap(), parts);
    assert_eq!(hub.take_requests(), [""; 0]);
}

#[test]
fn a_split_that_is_not_there_is_named_with_those_that_are() {
    let hub = Hub::serve(data_set());
    let cache = directory();
    let settings = hub.settings(cache.path());
    let refusal = |configuration, name, settings: &HubSettings| {
        let error = split_files(&split(configuration, name), settings, &mut |_| {}).unwrap_err();
        (error.to_string(), error.hint().unwrap_or_default().to_owned())
    };
    let (message, hint) = refusal("other", "train", &settings);
    assert!(message.contains(r#"no split "train" of configuration "other" of the data set owner/set"#), "{message}");
    assert!(hint.contains("default/train, other/partial-train, other/test"), "{hint}");
    assert!(refusal("", "dev", &settings).0.contains(r#"no split "dev" of the data set"#));
    let offline = HubSettings { offline: true, ..settings.clone() };
    assert!(refusal("", "test", &offline).0.contains("HF_HUB_OFFLINE forbids"));
    hub.set(Fault::Refuse(401, "GatedRepo"));
    let (message, hint) = refusal("", "test", &settings);
    assert!(message.contains("owner/set at http") && hint.contains("HF_TOKEN"), "{message} / {hint}");
}

#[test]
fn a_split_of_which_a_part_is_missing_is_not_taken_for_whole() {
    let hub = Hub::serve(data_set());
    let cache = directory();
    let settings = hub.settings(cache.path());
    // one part arrives, the other does not
    let mut arrived = 0;
    let mut note = |transfer: Transfer| {
        if Some(transfer.done) == transfer.total {
            arrived += 1;
            hub.set(Fault::Damage);
        }
    };
    assert!(split_files(&split("", "test"), &settings, &mut note).is_err());
    assert!(arrived > 0 && snapshot_has(cache.path(), "default/test/0000.parquet"));
    let offline = HubSettings { offline: true, ..settings.clone() };
    assert!(split_files(&split("", "test"), &offline, &mut |_| {}).is_err());
    hub.set(Fault::None);
    assert_eq!(split_files(&split("", "test"), &settings, &mut |_| {}).unwrap().len(), 2);
}

fn snapshot_has(cache: &Path, file: &str) -> bool {
    cache.join("datasets--owner--set/snapshots").join(COMMIT).join(file).is_file()
}
