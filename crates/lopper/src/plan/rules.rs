//! Rules: what is asked of some matrices instead of what the plan asks of all. The first rule that matches a matrix decides.
//!
//! A rule names matrices by their tensors, such as `model.layers.3.mlp.down_proj.weight`. A plain name, of letters, digits,
//! `_` and `.`, stands for whole parts of that: `down_proj`, `mlp`, `layers.3` (which is not `layers.30`). Anything else is a
//! regular expression, looked for anywhere in the name unless `^` and `$` tie it.

use std::str::FromStr;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::conflict;
use crate::checkpoint::whole_of;
use crate::error::{Error, Result};
use crate::sparsity::{Extent, Pattern, Scope};

/// One of `[[pruning.rules]]`: the matrices, and one of `pattern`, `sparsity` and `dense`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which matrices: a plain name or a regular expression.
    pub matrices: String,
    /// N:M.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Share of weights pruned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<f64>,
    /// Whether they stay as they are, to the byte.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dense: bool,
    /// Where scores are compared, with `sparsity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Extent>,
}

/// What is asked of a matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Request {
    /// It stays as it is.
    Dense,
    /// N of every M, or whole neurons.
    Fixed(Pattern),
    /// A share of all that are asked for it together.
    Share { sparsity: f64, extent: Extent },
}

impl Request {
    /// From keys that exclude each other; `None` without any of the two. `of` says whose they are.
    pub(super) fn new(
        of: &str,
        pattern: Option<&str>,
        sparsity: Option<f64>,
        scope: Option<Extent>,
        default: Extent,
    ) -> Result<Option<Self>> {
        match (pattern, sparsity) {
            (Some(_), Some(_)) => {
                Err(conflict(&format!("{of}a sparsity and an N:M pattern exclude each other"), "leave one of them out"))
            }
            (Some(_), None) if scope.is_some() => Err(conflict(
                &format!("{of}an N:M pattern has no scope: scores compete within a group"),
                "leave out the scope",
            )),
            (Some(pattern), None) => Ok(Some(Self::Fixed(pattern.parse()?))),
            (None, Some(sparsity)) => {
                Pattern::unstructured(sparsity, Scope::Matrix)?;
                Ok(Some(Self::Share { sparsity, extent: scope.unwrap_or(default) }))
            }
            (None, None) => Ok(None),
        }
    }
}

impl Request {
    /// The pattern asked for, before those who share a target agree on who gives how much; `None` if dense.
    pub(super) fn pattern(&self) -> Option<Pattern> {
        match *self {
            Self::Dense => None,
            Self::Fixed(pattern) => Some(pattern),
            Self::Share { sparsity, extent } => Some(Pattern::Unstructured { sparsity, scope: extent.scope() }),
        }
    }
}

impl Rule {
    /// What this rule asks. Without a scope of its own its matrices do not compete with each other: each gets its sparsity.
    pub(super) fn request(&self, default: Extent) -> Result<Request> {
        let of = format!("rule {:?}: ", self.matrices);
        let default = if default.is_wide() { Extent::Matrix } else { default };
        let request = Request::new(&of, self.pattern.as_deref(), self.sparsity, self.scope, default)?;
        match (request, self.dense) {
            (Some(request), false) => Ok(request),
            (None, true) if self.scope.is_none() => Ok(Request::Dense),
            (None, true) => Err(conflict(&format!("{of}what stays dense has no scope"), "leave out the scope")),
            (Some(_), true) => Err(conflict(&format!("{of}what stays dense has neither pattern nor sparsity"), ONE_OF)),
            (None, false) => Err(conflict(&format!("{of}it does not say what to do"), ONE_OF)),
        }
    }

    /// What decides which names match.
    pub(super) fn expression(&self) -> Result<Regex> {
        let name = &self.matrices;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let parts = name.trim_matches('.');
        // a part of a stacked tensor, or all of its parts
        let of_parts = whole_of(parts).is_some_and(|whole| !whole.is_empty() && whole.chars().all(plain));
        let text = if of_parts {
            format!(r"(?:^|\.){}$", regex::escape(parts))
        } else if parts.is_empty() || !name.chars().all(plain) {
            name.clone()
        } else {
            format!(r"(?:^|\.){}(?:\.|\[|$)", regex::escape(parts))
        };
        let expression = Regex::new(&text).ok().filter(|_| !name.is_empty());
        expression.ok_or_else(|| {
            conflict(
                &format!("rule {name:?} is not a regular expression{}", reason(&text)),
                r"for example 'down_proj', 'layers.0', or 'layers\.[0-3]\..*proj'",
            )
        })
    }
}

/// For each of `names`, the first rule that matches.
///
/// # Errors
/// If a rule is no expression, matches no name, or only names that an earlier one takes.
pub(super) fn decide(rules: &[Rule], names: &[String]) -> Result<Vec<Option<usize>>> {
    let mut deciding = vec![None; names.len()];
    for (index, rule) in rules.iter().enumerate() {
        let expression = rule.expression()?;
        let matching: Vec<usize> = (0..names.len()).filter(|&name| expression.is_match(&names[name])).collect();
        if matching.is_empty() {
            return Err(matches_nothing(rule, names));
        }
        let left: Vec<usize> = matching.into_iter().filter(|&name| deciding[name].is_none()).collect();
        if left.is_empty() {
            let problem = format!("rule {:?} decides nothing: earlier rules match all that it matches", rule.matrices);
            return Err(conflict(&problem, "the first rule that matches decides: put the narrower one first"));
        }
        for name in left {
            deciding[name] = Some(index);
        }
    }
    Ok(deciding)
}

fn matches_nothing(rule: &Rule, names: &[String]) -> Error {
    let near = nearest(&rule.matrices, names.iter().map(String::as_str)).join(", ");
    conflict(
        &format!("rule {:?} matches no matrix that can be pruned", rule.matrices),
        &format!("names near it: {near}"),
    )
}

const ONE_OF: &str = "give one of pattern = \"2:4\", sparsity = 0.6, dense = true";

/// What the parser found, on one line.
fn reason(text: &str) -> String {
    let found = Regex::new(text).err().map(|error| error.to_string()).unwrap_or_default();
    let last = found.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").map(|last| format!(": {last}")).unwrap_or_default()
}

/// The names that share the longest piece with `text`, three at most.
pub(super) fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<(usize, &str)> =
        names.map(|name| (longest_common(text.as_bytes(), name.as_bytes()), name)).collect();
    names.sort_by_key(|&(length, _)| std::cmp::Reverse(length));
    names.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Length of the longest piece that both hold.
fn longest_common(a: &[u8], b: &[u8]) -> usize {
    let (mut before, mut longest) = (vec![0; b.len() + 1], 0);
    for &x in a {
        let mut here = vec![0; b.len() + 1];
        for (place, _) in b.iter().enumerate().filter(|&(_, &y)| x == y) {
            here[place + 1] = before[place] + 1;
            longest = longest.max(here[place + 1]);
        }
        before = here;
    }
    longest
}

/// `MATRICES=2:4`, `MATRICES=0.6` or `MATRICES=dense`, as on the command line; the last `=` divides.
impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let form = || {
            let problem =
                format!("rule {text:?} is not MATRICES=WHAT, as 'down_proj=2:4', 'layers.0=0.3', 'o_proj=dense'");
            Error::Plan { problem, hint: None }
        };
        let (matrices, what) = text.rsplit_once('=').ok_or_else(form)?;
        let mut rule = Self { matrices: matrices.into(), ..Self::default() };
        match what.trim() {
            "dense" => rule.dense = true,
            pattern if pattern.contains(':') => rule.pattern = Some(pattern.into()),
            share => rule.sparsity = Some(share.parse().map_err(|_| form())?),
        }
        Ok(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::{Request, Rule, nearest};
    use crate::sparsity::{Extent, Pattern};

    fn rule(text: &str) -> Rule {
        text.parse().expect("a rule")
    }

    #[test]
    fn the_command_line_has_three_kinds() {
        let asks = |text: &str| rule(text).request(Extent::Row).expect("valid");
        assert_eq!(asks("a=2:4"), Request::Fixed(Pattern::NofM { keep: 2, of: 4 }));
        assert_eq!(asks("a=0.6"), Request::Share { sparsity: 0.6, extent: Extent::Row });
        assert_eq!(asks("a=b=dense"), Request::Dense);
        assert_eq!(rule("a=b=dense").matrices, "a=b");
        // a share that is given is the share of each matrix, however far the plan compares
        assert_eq!(
            rule("a=0.6").request(Extent::Model).expect("valid"),
            Request::Share { sparsity: 0.6, extent: Extent::Matrix }
        );
        for wrong in ["", "a", "a=", "a=half", "dense"] {
            assert!(wrong.parse::<Rule>().expect_err("no rule").to_string().contains("MATRICES=WHAT"), "{wrong}");
        }
    }

    #[test]
    fn a_rule_says_one_thing() {
        let wrong = [
            "pattern = '2:4'\nsparsity = 0.5",
            "pattern = '2:4'\nscope = 'row'",
            "dense = true\nsparsity = 0.5",
            "dense = true\nscope = 'row'",
            "dense = false",
            "pattern = '4:2'",
            "sparsity = 1.0",
        ];
        for text in wrong {
            let rule: Rule = toml::from_str(&format!("matrices = 'x'\n{text}")).expect("TOML");
            assert!(rule.request(Extent::Row).is_err(), "{text}");
        }
    }

    #[test]
    fn plain_names_are_whole_parts_and_the_rest_are_expressions() {
        let name = "model.layers.1.mlp.down_proj.weight";
        let matches = |matrices: &str| rule(&format!("{matrices}=dense")).expression().expect("valid").is_match(name);
        for yes in
            ["down_proj", "layers.1", "layers.1.", "mlp", name, "down", ".*", "^model", "l.*p", r"layers\.[0-3]\."]
        {
            assert_eq!(matches(yes), yes != "down", "{yes}");
        }
        let part = "model.layers.1.mlp.input_linear.weight[3]";
        let of_part = |matrices: &str| rule(&format!("{matrices}=dense")).expression().expect("valid").is_match(part);
        for yes in [part, "input_linear", "input_linear.weight", "weight[3]", "model.layers.1.mlp.input_linear.weight"]
        {
            assert!(of_part(yes), "{yes}");
        }
        assert!(!of_part("weight[1]") && !of_part("weight[13]") && !of_part("input_linear.weight[0]"));
        for no in ["proj", "layers.11", "layer.1", "^layers", "weight$.", "[2-9]"] {
            assert!(!matches(no), "{no}");
        }
        for broken in ["layers.(", "[", ""] {
            let error =
                Rule { matrices: broken.into(), dense: true, ..Rule::default() }.expression().expect_err("broken");
            assert!(error.to_string().contains("not a regular expression"), "{error}");
        }
    }

    #[test]
    fn the_nearest_name_shares_the_longest_piece() {
        let names = ["self_attn.q_proj", "mlp.down_proj", "mlp.up_proj"];
        assert_eq!(nearest("down_prj", names.into_iter())[0], "mlp.down_proj");
        assert_eq!(nearest("attention.q_proj", names.into_iter())[0], "self_attn.q_proj");
    }
}
