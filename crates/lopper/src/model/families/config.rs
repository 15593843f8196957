//! Typed access to config.json, and the parts that families share.

use std::path::{Path, PathBuf};

use lopper_kernels::Activation;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::model::form::Form;

/// More blocks than any model has.
const MOST_BLOCKS: usize = 1 << 14;
/// More heads than any model has.
const MOST_HEADS: usize = 1 << 16;
/// Wider heads than any model has.
const WIDEST_HEAD: usize = 1 << 16;
/// Letters of a value that a message shows.
const SHOWN: usize = 60;

/// What the libraries call the functions of a feed-forward layer.
const ACTIVATIONS: [(&str, Activation); 10] = [
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("relu", Activation::Relu),
    ("relu2", Activation::ReluSquared),
];

/// A config.json. `null` counts as absent.
pub struct Config<'a> {
    pub(super) path: PathBuf,
    pub(super) json: &'a Value,
    /// How the files hold the matrices of all experts of a layer in one tensor, if they do.
    pub stacked: Option<Form>,
}

impl<'a> Config<'a> {
    pub fn new(path: &Path, json: &'a Value) -> Result<Self> {
        let config = Self { path: path.into(), json, stacked: None };
        if json.is_object() { Ok(config) } else { Err(config.wrong("is not a JSON object")) }
    }

    /// The same of files that are so.
    pub fn stored(self, stacked: Option<Form>) -> Self {
        Self { stacked, ..self }
    }

    /// An error about this file.
    pub fn wrong(&self, problem: impl Into<String>) -> Error {
        Error::Checkpoint { path: self.path.clone(), problem: problem.into(), hint: None }
    }

    /// Whether the key is there at all, even with `null`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.json.get(key).is_some()
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    /// The object under a key, or all of the file without it.
    pub fn object_or_all(&self, key: &str) -> Result<&'a Map<String, Value>> {
        let value = self.get(key).unwrap_or(self.json);
        value.as_object().ok_or_else(|| self.no(key, value, "an object"))
    }

    pub fn text(&self, key: &str) -> Result<&'a str> {
        self.get(key).and_then(Value::as_str).ok_or_else(|| self.wrong(format!("{key:?} is missing or no string")))
    }

    pub(super) fn text_or(&self, key: &str, default: &'a str) -> Result<&'a str> {
        self.get(key).map_or(Ok(default), |value| value.as_str().ok_or_else(|| self.no(key, value, "a string")))
    }

    /// An error about a value that is none of `kind`.
    pub(super) fn no(&self, key: &str, value: &Value, kind: &str) -> Error {
        self.wrong(format!("{key:?} is {}, not {kind}", shown(value)))
    }

    pub fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        let Some(value) = self.get(key) else { return Ok(default) };
        match value.as_u64() {
            Some(size) if size > 0 && size < 1 << 32 => Ok(size as usize),
            _ => Err(self.no(key, value, "a positive integer")),
        }
    }

    /// A size that takes memory before tensors are compared with it.
    fn at_most(&self, key: &str, limit: usize, size: usize) -> Result<usize> {
        if size <= limit { Ok(size) } else { Err(self.wrong(format!("{key:?} is {size}, above {limit}"))) }
    }

    pub fn size(&self, key: &str) -> Result<usize> {
        match self.size_or(key, 0)? {
            0 => Err(self.wrong(format!("{key:?} is missing"))),
            size => Ok(size),
        }
    }

    /// The size under one of some keys.
    pub fn size_of(&self, keys: &[&str]) -> Result<usize> {
        let mut said = keys.iter().filter(|key| self.get(key).is_some());
        let Some(first) = said.next() else { return self.size(keys[0]) };
        let size = self.size(first)?;
        match said.find(|key| self.size(key).ok() != Some(size)) {
            Some(other) => Err(self.wrong(format!("{first:?} is {size}, {other:?} says otherwise"))),
            None => Ok(size),
        }
    }

    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        self.get(key).map_or(Ok(default), |value| value.as_bool().ok_or_else(|| self.no(key, value, "true or false")))
    }

    /// The same where `null` is false and not the default.
    pub fn flag_or_null(&self, key: &str, default: bool) -> Result<bool> {
        self.flag_or(key, default && !(self.has(key) && self.get(key).is_none()))
    }

    pub fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        self.get(key).map_or(Ok(default), |value| value.as_f64().ok_or_else(|| self.no(key, value, "a number")))
    }

    /// A list of numbers.
    pub(super) fn numbers(&self, key: &str) -> Result<Vec<f64>> {
        let list = self.get(key).and_then(Value::as_array);
        let numbers = list.and_then(|list| list.iter().map(Value::as_f64).collect());
        numbers.ok_or_else(|| self.wrong(format!("{key:?} is missing or no list of numbers")))
    }

    /// A number above 0.
    pub fn positive_or(&self, key: &str, default: f64) -> Result<f64> {
        if self.get(key).is_none() { Ok(default) } else { self.positive(key) }
    }

    /// A factor, where there is one that is not 1.
    pub fn factor(&self, key: &str) -> Result<Option<f32>> {
        let factor = self.positive_or(key, 1.0)? as f32;
        Ok(Some(factor).filter(|factor| (factor - 1.0).abs() > 0.0))
    }

    /// A soft bound; the default where the key is missing, none where it is `null`.
    pub fn cap(&self, key: &str, default: Option<f64>) -> Result<Option<f32>> {
        let cap = if self.get(key).is_some() { Some(self.positive(key)?) } else { default.filter(|_| !self.has(key)) };
        Ok(cap.map(|cap| cap as f32))
    }

    /// `sliding_window`; the default where the key is missing, none where it is `null`.
    pub fn window(&self, default: Option<usize>) -> Result<Option<usize>> {
        let key = "sliding_window";
        if self.get(key).is_some() { self.size(key).map(Some) } else { Ok(default.filter(|_| !self.has(key))) }
    }

    pub(super) fn positive(&self, key: &str) -> Result<f64> {
        match self.number_or(key, f64::NAN)? {
            missing if missing.is_nan() => Err(self.wrong(format!("{key:?} is missing"))),
            number if number > 0.0 => Ok(number),
            number => Err(self.wrong(format!("{key:?} is {number}, not above 0"))),
        }
    }

    /// A size that may be missing where there is a default.
    pub fn size_unless(&self, (key, default): (&str, Option<usize>)) -> Result<usize> {
        default.map_or_else(|| self.size(key), |default| self.size_or(key, default))
    }

    /// So many factors, where there are such that are not 1.
    pub fn factors<const N: usize>(&self, key: &str) -> Result<[Option<f32>; N]> {
        if self.get(key).is_none() {
            return Ok([None; N]);
        }
        let numbers = <[f64; N]>::try_from(self.numbers(key)?);
        let numbers = numbers.map_err(|all| self.wrong(format!("{key:?} has {} factors, not {N}", all.len())))?;
        if let Some(number) = numbers.iter().find(|number| !(**number > 0.0 && number.is_finite())) {
            return Err(self.wrong(format!("{key:?} has the factor {number}, not above 0")));
        }
        Ok(numbers.map(|number| Some(number as f32).filter(|factor| (factor - 1.0).abs() > 0.0)))
    }

    /// The activation that is named under `key`, or by default.
    pub fn activation(&self, key: &str, default: &'static str) -> Result<Activation> {
        let name = self.text_or(key, default)?;
        ACTIVATIONS.iter().find(|(known, _)| *known == name).map(|(_, meaning)| *meaning).ok_or_else(|| {
            let names: Vec<_> = ACTIVATIONS.iter().map(|(name, _)| format!("{name:?}")).collect();
            self.wrong(format!("{key:?} is {name:?}; supported here: {}", names.join(", ")))
        })
    }

    /// Number of blocks.
    pub fn blocks(&self) -> Result<usize> {
        self.blocks_at(&["num_hidden_layers"])
    }

    /// The same as the length of a list.
    pub fn blocks_in(&self, key: &str, list: usize) -> Result<usize> {
        self.at_most(key, MOST_BLOCKS, list)
    }

    /// The same under the first of some keys that is there.
    pub fn blocks_at(&self, keys: &[&str]) -> Result<usize> {
        self.at_most(keys[0], MOST_BLOCKS, self.size_of(keys)?)
    }

    /// Attention heads of each block.
    pub fn heads(&self) -> Result<usize> {
        self.at_most("num_attention_heads", MOST_HEADS, self.size("num_attention_heads")?)
    }

    /// The same, where they share a width out among them.
    pub fn heads_of(&self, width: usize) -> Result<usize> {
        self.heads_at(&["num_attention_heads"], width)
    }

    /// The same under the first of some keys that is there.
    pub fn heads_at(&self, keys: &[&str], width: usize) -> Result<usize> {
        let heads = self.at_most(keys[0], MOST_HEADS, self.size_of(keys)?)?;
        if !width.is_multiple_of(heads) {
            return Err(self.wrong(format!("{heads} attention heads do not divide a width of {width}")));
        }
        let entries = width / heads;
        if entries > WIDEST_HEAD {
            return Err(self.wrong(format!("a head of {entries} entries is wider than {WIDEST_HEAD}")));
        }
        Ok(heads)
    }

    /// Key-value heads that so many heads share, under `key`; as many by default.
    pub fn kv_heads(&self, key: &str, heads: usize) -> Result<usize> {
        let kv_heads = self.size_or(key, heads)?;
        if heads.is_multiple_of(kv_heads) {
            Ok(kv_heads)
        } else {
            Err(self.wrong(format!("{heads} attention heads cannot share {kv_heads} key-value heads")))
        }
    }

    /// A width within a head, under a key.
    pub fn width_of_head(&self, key: &str, default: usize) -> Result<usize> {
        self.at_most(key, WIDEST_HEAD, self.size_or(key, default)?)
    }

    /// A number of heads of another kind, under a key of its own.
    pub fn heads_named(&self, (key, default): (&str, usize)) -> Result<usize> {
        self.at_most(key, MOST_HEADS, self.size_or(key, default)?)
    }

    /// Width of a head; without a key of its own `default`, or, as where it is `null`, what is `shared` out.
    pub fn head_dim(&self, default: Option<usize>, shared: usize) -> Result<usize> {
        let default = default.filter(|_| !self.has("head_dim")).unwrap_or(shared);
        self.at_most("head_dim", WIDEST_HEAD, self.size_or("head_dim", default)?)
    }

    /// ε of the norms.
    pub fn epsilon(&self, key: &str, default: f64) -> Result<f32> {
        let epsilon = self.number_or(key, default)?;
        if (0.0..1.0).contains(&epsilon) {
            Ok(epsilon as f32)
        } else {
            Err(self.wrong(format!("{key:?} is {epsilon}, outside [0, 1)")))
        }
    }
}

/// A value as JSON, cut off where it is long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    text.char_indices().nth(SHOWN).map_or_else(|| text.clone(), |(end, _)| format!("{}…", &text[..end]))
}
