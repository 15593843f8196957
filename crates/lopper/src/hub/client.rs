//! The few requests of the Hub's protocol that a download needs, and what its refusals mean.

use std::time::Duration;

use serde::Deserialize;
use ureq::http::{Response, StatusCode, header::HeaderMap};
use ureq::{Agent, Body};

use super::{HubSettings, Kind, Repository};
use crate::{Error, Result};

/// Redirects to a new name of a model that are followed.
const RENAMES: usize = 3;

/// A connection to the Hub.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

/// What the Hub says about a revision.
#[derive(Debug, Deserialize)]
pub(super) struct Revision {
    /// The commit.
    pub sha: String,
    /// Its files.
    #[serde(default)]
    pub siblings: Vec<Sibling>,
}

/// One file of a revision.
#[derive(Debug, Deserialize)]
pub(super) struct Sibling {
    /// Its path in the repository.
    pub rfilename: String,
}

/// What the Hub says about a file.
#[derive(Debug)]
pub(super) struct FileFacts {
    /// The hash of its contents: SHA-256 for large files, else SHA-1 of the git blob. None from some mirrors.
    pub etag: Option<String>,
    /// Its size in bytes.
    pub size: Option<u64>,
}

impl Client {
    pub fn new(settings: &HubSettings) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("lopper/", env!("CARGO_PKG_VERSION")))
            .redirect_auth_headers(ureq::config::RedirectAuthHeaders::SameHost)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_mins(1)))
            .timeout_per_read(Some(Duration::from_mins(1)));
        Self { agent: config.build().into(), endpoint: settings.endpoint.clone(), token: settings.token.clone() }
    }

    /// Commit and files of a revision.
    pub fn revision(&self, id: &Repository) -> Result<Revision> {
        let Repository { kind, name, revision } = id;
        let url = format!("{}/api/{}/{name}/revision/{}", self.endpoint, kind.name(), escape(revision));
        let request = self.authorised(self.agent.get(&url));
        let mut response = request.call().map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            return Err(self.refused(id, None, &response));
        }
        let text = response.body_mut().read_to_string().map_err(|error| self.unreachable(&error))?;
        serde_json::from_str(&text).map_err(|error| Error::Hub {
            problem: format!("{} gave an answer that describes no repository: {error}", self.endpoint),
            hint: Some("check HF_ENDPOINT, or give a local directory".into()),
        })
    }

    /// Hash and size of a file, from the Hub itself and not from the store that it redirects to.
    pub fn facts(&self, id: &Repository, commit: &str, file: &str) -> Result<FileFacts> {
        let mut url = self.resolve_url(id, commit, file);
        for _ in 0..=RENAMES {
            let request = self.authorised(self.agent.head(&url)).header("accept-encoding", "identity");
            let response =
                request.config().max_redirects(0).build().call().map_err(|error| self.unreachable(&error))?;
            let location = header(response.headers(), "location");
            match location {
                Some(path) if response.status().is_redirection() && path.starts_with('/') => {
                    url = format!("{}{path}", self.endpoint);
                }
                _ if response.status().is_success() || response.status().is_redirection() => {
                    return Ok(FileFacts::of(&response));
                }
                _ => return Err(self.refused(id, Some(file), &response)),
            }
        }
        Err(Error::Hub { problem: format!("{} redirects {} in a circle", self.endpoint, id.name), hint: None })
    }

    /// The contents of a file from byte `start` on. The answer may be the whole file: see its status.
    pub fn contents(&self, id: &Repository, commit: &str, file: &str, start: u64) -> Result<Response<Body>> {
        let mut request =
            self.authorised(self.agent.get(self.resolve_url(id, commit, file))).header("accept-encoding", "identity");
        if start > 0 {
            request = request.header("range", format!("bytes={start}-"));
        }
        let response = request.call().map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() || response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(response);
        }
        Err(self.refused(id, Some(file), &response))
    }

    fn resolve_url(&self, id: &Repository, commit: &str, file: &str) -> String {
        let path: Vec<String> = file.split('/').map(escape).collect();
        format!("{}/resolve/{commit}/{}", self.page(id), path.join("/"))
    }

    /// Where people look at a repository.
    fn page(&self, id: &Repository) -> String {
        match id.kind {
            Kind::Model => format!("{}/{}", self.endpoint, id.name),
            Kind::DataSet => format!("{}/datasets/{}", self.endpoint, id.name),
        }
    }

    fn authorised(
        &self,
        request: ureq::RequestBuilder<ureq::typestate::WithoutBody>,
    ) -> ureq::RequestBuilder<ureq::typestate::WithoutBody> {
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    pub fn unreachable(&self, error: &ureq::Error) -> Error {
        Error::Hub {
            problem: format!("cannot reach {}: {error}", self.endpoint),
            hint: Some("check the network and HF_ENDPOINT, or give the directory of a copy".into()),
        }
    }

    /// The error behind a status that is no success.
    fn refused(&self, id: &Repository, file: Option<&str>, response: &Response<Body>) -> Error {
        let Repository { name, revision, .. } = id;
        let code = header(response.headers(), "x-error-code");
        let (reason, hint) = match (response.status().as_u16(), code) {
            (401 | 403, _) => ("no access".to_owned(), Some(self.access_hint(id))),
            (404, Some("RevisionNotFound")) => (
                format!("there is no revision `{revision}`"),
                Some(format!("see the branches and tags at {}", self.page(id))),
            ),
            (404, _) => (
                "not found".to_owned(),
                Some("check the name; a local directory must be given by a path that exists".into()),
            ),
            (429, _) => (
                "too many requests".to_owned(),
                Some("wait some minutes; with HF_TOKEN set, the limit is higher".into()),
            ),
            (500.., _) => ("the server failed".to_owned(), Some("try again later, or give a local directory".into())),
            _ => ("unexpected answer".to_owned(), None),
        };
        let what = file.map_or_else(|| name.clone(), |file| format!("{file} of {name}"));
        Error::Hub { problem: format!("{what} at {}: {reason} ({})", self.endpoint, response.status()), hint }
    }

    fn access_hint(&self, id: &Repository) -> String {
        if self.token.is_some() {
            format!("the token has no access: accept the terms at {}, and check HF_TOKEN", self.page(id))
        } else {
            "check the name; what is private or gated needs an access token in HF_TOKEN".into()
        }
    }
}

impl FileFacts {
    fn of(response: &Response<Body>) -> Self {
        let headers = response.headers();
        let etag = header(headers, "x-linked-etag").or_else(|| header(headers, "etag"));
        // A redirect's own length is that of its page.
        let own = (!response.status().is_redirection()).then(|| header(headers, "content-length")).flatten();
        let size = header(headers, "x-linked-size").or(own).and_then(|size| size.parse().ok());
        Self { etag: etag.and_then(clean_etag), size }
    }
}

/// An etag without quotes and weakness mark, when it can serve as a file name.
fn clean_etag(etag: &str) -> Option<String> {
    let bare = etag.trim_start_matches("W/").trim_matches('"');
    let plain = !bare.is_empty()
        && bare.len() <= 128
        && bare.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
    plain.then(|| bare.to_owned())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Percent-encodes everything but the unreserved characters of RFC 3986 §2.3.
fn escape(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::{clean_etag, escape};

    #[test]
    fn an_etag_is_a_file_name_or_nothing() {
        assert_eq!(clean_etag("W/\"ab12\"").as_deref(), Some("ab12"));
        for hostile in ["\"\"", "\"../../x\"", "\"a/b\"", "\".\""] {
            assert_eq!(clean_etag(hostile), None, "{hostile}");
        }
    }

    #[test]
    fn a_revision_is_one_segment_of_the_address() {
        assert_eq!(escape("refs/pr/1 ä"), "refs%2Fpr%2F1%20%C3%A4");
    }
}
