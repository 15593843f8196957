//! Rotary positions as config.json has them, in the keys of transformers 5 and in those of before.

use lopper_kernels::RotaryPairs;
use serde_json::{Value, json};

use super::config::Config;
use crate::error::Result;
use crate::model::rotary::{RotaryScaling, RotarySpec};

/// What a family has of rotary positions where config.json says nothing, and under which keys.
pub struct RotaryDefaults<'a> {
    /// Share of each head that is rotated, in families that may rotate less than a whole one.
    pub share: Option<(&'a str, f64)>,
    /// Base of the frequencies.
    pub base: (&'a str, f64),
    /// Length trained on before positions were scaled; `None` looks for it among the parameters of the scaling.
    pub original: Option<usize>,
}

/// The length that a model was trained on before its positions were scaled.
const ORIGINAL: &str = "original_max_position_embeddings";
/// A scaling by which a share of the pairs of a head turns.
const PROPORTIONAL: &str = "proportional";
/// Kinds of attention that may have rotary positions of their own.
const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];

impl Config<'_> {
    /// Rotary positions, from `rope_parameters` (transformers 5) or keys of their own and `rope_scaling` (before), which wins where
    /// both are there.
    pub fn rotary(&self, heads_and_length: (usize, usize), defaults: &RotaryDefaults) -> Result<RotarySpec> {
        let named = self.rotary_parameters();
        if let Some((key, kind)) =
            named.and_then(|(key, all)| Some((key, KINDS.iter().find(|kind| all.get(kind).is_some())?)))
        {
            return Err(self.wrong(format!("{key:?} by kind of attention ({kind:?}) is not known in this family")));
        }
        // transformers takes it from beside the scaling where there is one
        let beside = self.get(ORIGINAL).map(|_| self.size(ORIGINAL)).transpose()?;
        let &RotaryDefaults { share, base, original } = defaults;
        self.rotary_from(named, heads_and_length, share, base, (beside.or(original), false))
    }

    /// Those of one kind of attention, where each has its own: under its name in `rope_parameters`, or by a base under a key of its own;
    /// what `rope_scaling` (before transformers 5) says is added to that of full attention.
    pub fn rotary_of(&self, kind: &str, heads_and_length: (usize, usize), base: (&str, f64)) -> Result<RotarySpec> {
        let own = self.get("rope_parameters").and_then(|all| all.get(kind)).filter(|own| !own.is_null());
        let scaled = self.get("rope_scaling").filter(|_| kind == KINDS[0]);
        let plain = json!({ "rope_type": "default" });
        let both = match (own.unwrap_or(&plain).as_object(), scaled.and_then(Value::as_object)) {
            (Some(own), Some(scaled)) => {
                let keys = own.iter().chain(scaled).map(|(key, value)| (key.clone(), value.clone()));
                Some(Value::Object(keys.collect()))
            }
            _ => None,
        };
        let named = match (&both, own, scaled) {
            (Some(both), ..) => Some(("rope_parameters", both)),
            (None, Some(own), _) => Some(("rope_parameters", own)),
            (None, None, scaled) => scaled.map(|scaled| ("rope_scaling", scaled)),
        };
        self.rotary_from(named, heads_and_length, None, base, (None, true))
    }

    /// `alpha` of rotary positions that are scaled, where it is not 0.
    pub fn rotary_alpha(&self) -> Result<Option<f64>> {
        let Some((_, scaling)) = self.rotary_parameters() else { return Ok(None) };
        let alpha = Config::new(&self.path, scaling)?.number_or("alpha", 0.0)?;
        Ok(Some(alpha).filter(|alpha| *alpha > 0.0))
    }

    /// By how much queries and keys grow each where positions are scaled, as `mscale_all_dim` says.
    pub fn growth(&self) -> Result<f64> {
        let Some((_, scaling)) = self.rotary_parameters() else { return Ok(1.0) };
        let scaling = Config::new(&self.path, scaling)?;
        let weight = scaling.number_or("mscale_all_dim", 0.0)?;
        if weight == 0.0 || scaling.text_or("rope_type", scaling.text_or("type", "default")?)? == "default" {
            return Ok(1.0);
        }
        let factor = scaling.positive("factor")?;
        Ok(if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 })
    }

    /// What says how positions turn, and the key that it stands under.
    pub fn rotary_parameters(&self) -> Option<(&'static str, &Value)> {
        let scaling =
            self.get("rope_scaling").filter(|scaling| scaling.as_object().is_none_or(|keys| !keys.is_empty()));
        let scaling = scaling.map(|scaling| ("rope_scaling", scaling));
        scaling.or_else(|| Some(("rope_parameters", self.get("rope_parameters")?)))
    }

    fn rotary_from(
        &self,
        named: Option<(&str, &Value)>,
        (head_dim, max_positions): (usize, usize),
        share: Option<(&str, f64)>,
        base: (&str, f64),
        (original, by_kind): (Option<usize>, bool),
    ) -> Result<RotarySpec> {
        if let Some((key, other)) = named.filter(|(_, value)| !value.is_object()) {
            return Err(self.no(key, other, "an object"));
        }
        let empty = Value::Object(serde_json::Map::new());
        let scaling = Config::new(&self.path, named.map_or(&empty, |(_, value)| value))?;
        let theta = scaling.number_or("rope_theta", self.number_or(base.0, base.1)?)?;
        // of heads that turn in proportion a share does, in any family, and the others stand still
        let proportional = scaling.text_or("rope_type", scaling.text_or("type", "default")?)? == PROPORTIONAL;
        let share = share.or_else(|| proportional.then_some(("partial_rotary_factor", 1.0)));
        let partial = self.rotated(&scaling, share)?;
        let dim = if proportional { head_dim } else { (head_dim as f64 * partial) as usize };
        if dim == 0 || dim > head_dim || !dim.is_multiple_of(2) || theta.is_nan() || theta <= 1.0 {
            return Err(self.wrong(format!(
                "rotary embedding of {dim} of the {head_dim} entries per head with base {theta} makes no sense"
            )));
        }
        let original = match original {
            Some(original) => original,
            None => scaling.size_or(ORIGINAL, max_positions)?,
        };
        let mut scaling = self.rotary_scaling(&scaling, (dim, partial), (original, max_positions))?;
        if let (RotaryScaling::Yarn { truncate, .. }, true) = (&mut scaling, by_kind) {
            // transformers looks for it beside the kinds
            *truncate = true;
        }
        let rotary = RotarySpec { theta, dim, pairs: RotaryPairs::Halves, scaling };
        if rotary.is_finite(max_positions) {
            return Ok(rotary);
        }
        Err(self.wrong(format!("rotary embedding has frequencies that are no numbers, scaled by {:?}", rotary.scaling)))
    }

    /// The share of each head that is rotated.
    fn rotated(&self, scaling: &Config, share: Option<(&str, f64)>) -> Result<f64> {
        let key = share.map_or("partial_rotary_factor", |(key, _)| key);
        if share.is_some() && self.has(key) && self.get(key).is_none() {
            return Err(self.wrong(format!("{key:?} is null")));
        }
        let said =
            [(scaling, "partial_rotary_factor"), (self, key)].into_iter().find(|(at, key)| at.get(key).is_some());
        let said = said.map(|(at, key)| at.number_or(key, 1.0)).transpose()?;
        match (share, said) {
            (Some((_, default)), said) => Ok(said.unwrap_or(default)),
            (None, Some(said)) if (said - 1.0).abs() > 0.0 => {
                Err(self.wrong(format!("{key:?} is {said}; this family rotates whole heads")))
            }
            (None, _) => Ok(1.0),
        }
    }

    fn rotary_scaling(
        &self,
        scaling: &Config,
        (dim, partial): (usize, f64),
        (original_positions, max_positions): (usize, usize),
    ) -> Result<RotaryScaling> {
        let kind = scaling.text_or("rope_type", scaling.text_or("type", "default")?)?;
        Ok(match kind {
            "default" => RotaryScaling::Default,
            "linear" => RotaryScaling::Linear { factor: scaling.positive("factor")? },
            PROPORTIONAL if (0.0..=1.0).contains(&partial) => RotaryScaling::Proportional {
                pairs: (dim as f64 * partial) as usize / 2,
                factor: scaling.positive_or("factor", 1.0)?,
            },
            PROPORTIONAL => return Err(self.wrong(format!("\"partial_rotary_factor\" is {partial}, outside [0, 1]"))),
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
            "longrope" | "su" => long_rope(scaling, dim, (original_positions, max_positions))?,
            other => {
                return Err(self.wrong(format!(
                    "rotary scaling {other:?} is not supported; known: default, linear, proportional, dynamic, llama3, yarn, longrope"
                )));
            }
        })
    }
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

/// `LongRoPE` with factors of its own for each frequency (Ding et al. 2024, arXiv 2402.13753).
fn long_rope(scaling: &Config, dim: usize, (original, positions): (usize, usize)) -> Result<RotaryScaling> {
    let factors = |key: &str| {
        let factors = scaling.numbers(key)?;
        if factors.len() == dim / 2 && factors.iter().all(|factor| *factor > 0.0) {
            Ok(factors)
        } else {
            Err(scaling.wrong(format!("{key:?} is no list of {} numbers above 0", dim / 2)))
        }
    };
    let factor = scaling.positive_or("factor", positions as f64 / original as f64)?;
    let default = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() };
    Ok(RotaryScaling::LongRope {
        short_factors: factors("short_factor")?,
        long_factors: factors("long_factor")?,
        attention_factor: scaling.number_or("attention_factor", default)?,
        original_positions: original,
    })
}
