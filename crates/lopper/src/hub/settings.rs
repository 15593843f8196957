//! Where the Hub and its cache are: the environment variables of `huggingface_hub`, read once.

use std::path::PathBuf;

/// What finding and fetching a model depends on.
#[derive(Clone, PartialEq, Eq)]
pub struct HubSettings {
    /// Address of the Hub or a mirror, without a slash at the end.
    pub endpoint: String,
    /// Access token for private and gated models.
    pub token: Option<String>,
    /// Directory that holds `models--owner--name`.
    pub cache: PathBuf,
    /// Whether the network must not be used.
    pub offline: bool,
}

impl std::fmt::Debug for HubSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        // The token must not reach a log.
        let token = self.token.as_ref().map(|_| "set");
        let Self { endpoint, cache, offline, .. } = self;
        write!(
            formatter,
            "HubSettings {{ endpoint: {endpoint:?}, token: {token:?}, cache: {cache:?}, offline: {offline} }}"
        )
    }
}

impl HubSettings {
    /// Reads `HF_ENDPOINT`, `HF_TOKEN` (or the token file), `HF_HUB_CACHE`, `HF_HOME`, `HF_HUB_OFFLINE` and their older names.
    pub fn from_environment() -> Self {
        Self::from_lookup(&|name| std::env::var(name).ok())
    }

    /// As [`Self::from_environment`], from any source of variables.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let switched_on = |name: &str| {
            set(name).is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str()))
        };
        let home = hugging_face_home(&set, lookup);
        let cache = set("HF_HUB_CACHE")
            .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
            .map_or_else(|| home.join("hub"), |path| expanded(&path, lookup));
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let token_file = set("HF_TOKEN_PATH").map_or_else(|| home.join("token"), |path| expanded(&path, lookup));
        let stored = || {
            let allowed = !switched_on("HF_HUB_DISABLE_IMPLICIT_TOKEN");
            let text = allowed.then(|| std::fs::read_to_string(token_file).ok()).flatten()?;
            Some(text.trim().to_owned()).filter(|token| !token.is_empty())
        };
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: set("HF_TOKEN").or_else(|| set("HUGGING_FACE_HUB_TOKEN")).or_else(stored),
            cache,
            offline: switched_on("HF_HUB_OFFLINE") || switched_on("TRANSFORMERS_OFFLINE"),
        }
    }
}

/// `HF_HOME`, else `huggingface` in the user's cache directory.
fn hugging_face_home(set: &dyn Fn(&str) -> Option<String>, lookup: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let user = || set("HOME").or_else(|| set("USERPROFILE")).map_or_else(PathBuf::new, PathBuf::from);
    let caches = || set("XDG_CACHE_HOME").map_or_else(|| user().join(".cache"), PathBuf::from);
    let home = set("HF_HOME").unwrap_or_else(|| caches().join("huggingface").to_string_lossy().into_owned());
    expanded(&home, lookup)
}

/// A path with the user's directory for `~`, and variables for `$NAME` and `${NAME}`, those that are not set as they stand: a variable may
/// come from a file that no shell has read.
fn expanded(path: &str, lookup: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let home = lookup("HOME").or_else(|| lookup("USERPROFILE"));
    let rest = path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let path = rest.zip(home).map_or_else(|| path.to_owned(), |(rest, home)| home + rest);
    let variable = regex::Regex::new(r"\$(?:\{([^}]*)\}|([A-Za-z0-9_]+))");
    let value = |found: &regex::Captures| {
        let name = found.get(1).or_else(|| found.get(2)).map_or("", |name| name.as_str());
        lookup(name).unwrap_or_else(|| found[0].to_owned())
    };
    variable.map_or_else(|_| path.clone(), |variable| variable.replace_all(&path, value).into_owned()).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> HubSettings {
        HubSettings::from_lookup(&|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn the_more_particular_variable_wins() {
        let cache = |variables: &[(&str, &str)]| settings(variables).cache;
        assert_eq!(cache(&[("HOME", "/h")]), PathBuf::from("/h/.cache/huggingface/hub"));
        assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), PathBuf::from("/x/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/f")]), PathBuf::from("/f/hub"));
        assert_eq!(cache(&[("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/g")]), PathBuf::from("/g"));
        assert_eq!(cache(&[("HUGGINGFACE_HUB_CACHE", "/g"), ("HF_HUB_CACHE", "/c")]), PathBuf::from("/c"));
    }

    #[test]
    fn paths_are_expanded_as_python_does() {
        let cache = |name, value| settings(&[("HOME", "/h"), ("SCRATCH", "/s"), (name, value)]).cache;
        assert_eq!(cache("HF_HOME", "~/hf"), PathBuf::from("/h/hf/hub"));
        assert_eq!(cache("HF_HOME", "$SCRATCH/a/${SCRATCH}b"), PathBuf::from("/s/a//sb/hub"));
        assert_eq!(cache("HF_HUB_CACHE", "~"), PathBuf::from("/h"));
        assert_eq!(cache("HF_HUB_CACHE", "~other/$NOT/${NOT}/$"), PathBuf::from("~other/$NOT/${NOT}/$"));
        assert_eq!(cache("XDG_CACHE_HOME", "$SCRATCH"), PathBuf::from("/s/huggingface/hub"));
    }

    #[test]
    fn switches_and_addresses_are_read_as_python_does() {
        assert!(settings(&[("HF_HUB_OFFLINE", "yes")]).offline && settings(&[("TRANSFORMERS_OFFLINE", "1")]).offline);
        assert!(!settings(&[("HF_HUB_OFFLINE", "0")]).offline && !settings(&[]).offline);
        assert_eq!(settings(&[("HF_ENDPOINT", "http://mirror:8080/ ")]).endpoint, "http://mirror:8080");
        assert_eq!(settings(&[("HF_ENDPOINT", "")]).endpoint, "https://huggingface.co");
    }

    #[test]
    fn the_token_comes_from_the_environment_or_the_file_and_stays_out_of_logs() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "from-file\n").unwrap();
        let home = home.path().to_str().unwrap();
        assert_eq!(settings(&[("HF_HOME", home)]).token.as_deref(), Some("from-file"));
        assert_eq!(settings(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).token, None);
        let both = settings(&[("HF_HOME", home), ("HF_TOKEN", "from-variable")]);
        assert_eq!(both.token.as_deref(), Some("from-variable"));
        assert!(!format!("{both:?}").contains("from-variable"));
    }
}
