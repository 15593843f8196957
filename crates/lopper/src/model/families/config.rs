//! Typed access to config.json, and the parts that families share.

use std::path::{Path, PathBuf};

use lopper_kernels::RotaryPairs;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::rotary::{RotaryScaling, RotarySpec};

/// More blocks than any model has.
const MOST_BLOCKS: usize = 1 << 14;
/// More heads than any model has.
const MOST_HEADS: usize = 1 << 16;
/// Wider heads than any model has.
const WIDEST_HEAD: usize = 1 << 16;
/// Letters of a value that a message shows.
const SHOWN: usize = 60;

/// A config.json. `null` counts as absent.
pub struct Config<'a> {
    path: PathBuf,
    json: &'a Value,
}

impl<'a> Config<'a> {
    pub fn new(path: &Path, json: &'a Value) -> Result<Self> {
        let config = Self { path: path.into(), json };
        if json.is_object() { Ok(config) } else { Err(config.wrong("is not a JSON object")) }
    }

    /// An error about this file.
    pub fn wrong(&self, problem: impl Into<String>) -> Error {
        Error::Checkpoint { path: self.path.clone(), problem: problem.into(), hint: None }
    }

    /// Whether the key is there at all, even with `null`.
    pub fn has(&self, key: &str) -> bool {
        self.json.get(key).is_some()
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    pub fn text(&self, key: &str) -> Result<&'a str> {
        self.get(key).and_then(Value::as_str).ok_or_else(|| self.wrong(format!("{key:?} is missing or no string")))
    }

    fn text_or(&self, key: &str, default: &'a str) -> Result<&'a str> {
        self.get(key).map_or(Ok(default), |value| value.as_str().ok_or_else(|| self.no(key, value, "a string")))
    }

    /// An error about a value that is none of `kind`.
    fn no(&self, key: &str, value: &Value, kind: &str) -> Error {
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

    /// The size under the first of some keys that is there.
    pub fn size_of(&self, keys: &[&str]) -> Result<usize> {
        self.size(keys.iter().find(|key| self.get(key).is_some()).unwrap_or(&keys[0]))
    }

    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        self.get(key).map_or(Ok(default), |value| value.as_bool().ok_or_else(|| self.no(key, value, "true or false")))
    }

    pub fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        self.get(key).map_or(Ok(default), |value| value.as_f64().ok_or_else(|| self.no(key, value, "a number")))
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
        let given = if self.has(key) { None } else { default };
        let cap = if self.get(key).is_some() { Some(self.positive(key)?) } else { given };
        Ok(cap.map(|cap| cap as f32))
    }

    /// A sliding window; the default where the key is missing, none where it is `null`.
    pub fn window(&self, key: &str, default: usize) -> Result<Option<usize>> {
        if self.has(key) && self.get(key).is_none() { Ok(None) } else { self.size_or(key, default).map(Some) }
    }

    fn positive(&self, key: &str) -> Result<f64> {
        match self.number_or(key, f64::NAN)? {
            missing if missing.is_nan() => Err(self.wrong(format!("{key:?} is missing"))),
            number if number > 0.0 => Ok(number),
            number => Err(self.wrong(format!("{key:?} is {number}, not above 0"))),
        }
    }

    /// `layer_types[block]`, where there are any.
    pub fn layer_type(&self, block: usize) -> Result<Option<&'a str>> {
        let Some(kinds) = self.get("layer_types") else { return Ok(None) };
        let kind = kinds.get(block).and_then(Value::as_str);
        kind.map(Some).ok_or_else(|| self.wrong(format!("\"layer_types\" does not name the kind of block {block}")))
    }

    /// Entry `block` of a list of 0 and 1, where there is one.
    pub fn flag_of_block(&self, key: &str, block: usize) -> Result<Option<bool>> {
        let Some(list) = self.get(key) else { return Ok(None) };
        let flag = list.get(block).and_then(|flag| flag.as_bool().or(flag.as_u64().map(|flag| flag != 0)));
        flag.map(Some).ok_or_else(|| self.wrong(format!("{key:?} says nothing of block {block}")))
    }

    /// One of the names that `known` gives a meaning, under `key`; the first of them if it is absent.
    pub fn one_of<T: Copy>(&self, key: &str, known: &[(&'static str, T)]) -> Result<T> {
        let name = self.text_or(key, known[0].0)?;
        known.iter().find(|(known, _)| *known == name).map(|(_, meaning)| *meaning).ok_or_else(|| {
            let names: Vec<_> = known.iter().map(|(name, _)| format!("{name:?}")).collect();
            self.wrong(format!("{key:?} is {name:?}; supported here: {}", names.join(", ")))
        })
    }

    /// Number of blocks.
    pub fn blocks(&self) -> Result<usize> {
        self.blocks_at(&["num_hidden_layers"])
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
        if width.is_multiple_of(heads) {
            return Ok(heads);
        }
        Err(self.wrong(format!("{heads} attention heads do not divide a width of {width}")))
    }

    /// Width of a head; `default` without a key of its own.
    pub fn head_dim(&self, default: usize) -> Result<usize> {
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

    /// Rotary positions, from `rope_parameters` (transformers 5) or keys of their own and `rope_scaling` (before). `share` and `base`
    /// are the keys, and the values without them, for the share of each head that is rotated and for the base.
    pub fn rotary(
        &self,
        head_dim: usize,
        max_positions: usize,
        share: (&str, f64),
        base: (&str, f64),
    ) -> Result<RotarySpec> {
        let empty = Value::Object(serde_json::Map::new());
        let named = ["rope_parameters", "rope_scaling"].iter().find_map(|key| Some((*key, self.get(key)?)));
        self.rotary_from(named, &empty, (head_dim, max_positions), share, base)
    }

    /// Those of one kind of attention, where each has its own: under its name in `rope_parameters`, or by a base under a key of its own;
    /// `rope_scaling` (before transformers 5) is that of full attention.
    pub fn rotary_of(
        &self,
        kind: &str,
        head_dim: usize,
        max_positions: usize,
        base: (&str, f64),
    ) -> Result<RotarySpec> {
        let empty = Value::Object(serde_json::Map::new());
        let own = self.get("rope_parameters").and_then(|all| all.get(kind)).filter(|own| !own.is_null());
        let scaled = self.get("rope_scaling").filter(|_| kind == "full_attention");
        let named = own.map(|own| ("rope_parameters", own)).or(scaled.map(|scaled| ("rope_scaling", scaled)));
        self.rotary_from(named, &empty, (head_dim, max_positions), ("partial_rotary_factor", 1.0), base)
    }

    fn rotary_from(
        &self,
        named: Option<(&str, &Value)>,
        empty: &Value,
        (head_dim, max_positions): (usize, usize),
        share: (&str, f64),
        base: (&str, f64),
    ) -> Result<RotarySpec> {
        if let Some((key, other)) = named.filter(|(_, value)| !value.is_object()) {
            return Err(self.no(key, other, "an object"));
        }
        let scaling = Config::new(&self.path, named.map_or(empty, |(_, value)| value))?;
        let theta = scaling.number_or("rope_theta", self.number_or(base.0, base.1)?)?;
        let partial = scaling.number_or("partial_rotary_factor", self.number_or(share.0, share.1)?)?;
        let dim = (head_dim as f64 * partial) as usize;
        if dim == 0 || dim > head_dim || !dim.is_multiple_of(2) || theta.is_nan() || theta <= 1.0 {
            return Err(self.wrong(format!(
                "rotary embedding of {dim} of the {head_dim} entries per head with base {theta} makes no sense"
            )));
        }
        let rotary = RotarySpec {
            theta,
            dim,
            pairs: RotaryPairs::Halves,
            scaling: self.rotary_scaling(&scaling, max_positions)?,
        };
        if rotary.is_finite(max_positions) {
            return Ok(rotary);
        }
        Err(self.wrong(format!("rotary embedding has frequencies that are no numbers, scaled by {:?}", rotary.scaling)))
    }

    fn rotary_scaling(&self, scaling: &Config, max_positions: usize) -> Result<RotaryScaling> {
        let kind = scaling.text_or("rope_type", scaling.text_or("type", "default")?)?;
        let original_positions = scaling.size_or("original_max_position_embeddings", max_positions)?;
        Ok(match kind {
            "default" => RotaryScaling::Default,
            "linear" => RotaryScaling::Linear { factor: scaling.positive("factor")? },
            // transformers stretches beyond the configured maximum here, whatever the original one
            "dynamic" => {
                RotaryScaling::Dynamic { factor: scaling.positive("factor")?, original_positions: max_positions }
            }
            "llama3" => RotaryScaling::Llama3 {
                factor: scaling.positive("factor")?,
                low_frequency_factor: scaling.positive("low_freq_factor")?,
                high_frequency_factor: scaling.positive("high_freq_factor")?,
                original_positions,
            },
            "yarn" => yarn(scaling, original_positions)?,
            other => {
                return Err(self.wrong(format!(
                    "rotary scaling {other:?} is not supported; known: default, linear, dynamic, llama3, yarn"
                )));
            }
        })
    }
}

/// A value as JSON, cut off where it is long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    text.char_indices().nth(SHOWN).map_or_else(|| text.clone(), |(end, _)| format!("{}…", &text[..end]))
}

/// YaRN with the defaults of its paper; `mscale` and `mscale_all_dim` as `DeepSeek` models use them.
fn yarn(scaling: &Config, original_positions: usize) -> Result<RotaryScaling> {
    let factor = scaling.positive("factor")?;
    let temperature = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
    let (mscale, mscale_all) = (scaling.number_or("mscale", 0.0)?, scaling.number_or("mscale_all_dim", 0.0)?);
    let default = if mscale != 0.0 && mscale_all != 0.0 {
        temperature(mscale) / temperature(mscale_all)
    } else {
        temperature(1.0)
    };
    Ok(RotaryScaling::Yarn {
        factor,
        beta_fast: scaling.number_or("beta_fast", 32.0)?,
        beta_slow: scaling.number_or("beta_slow", 1.0)?,
        attention_factor: scaling.number_or("attention_factor", default)?,
        truncate: scaling.flag_or("truncate", true)?,
        original_positions,
    })
}
