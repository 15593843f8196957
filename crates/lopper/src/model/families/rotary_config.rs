//! Rotary positions as config.json has them, in the keys of transformers 5 and in those of before.

use lopper_kernels::RotaryPairs;
use serde_json::Value;

use super::config::Config;
use crate::error::Result;
use crate::model::rotary::{RotaryScaling, RotarySpec};

impl Config<'_> {
    /// Rotary positions, from `rope_parameters` (transformers 5) or keys of their own and `rope_scaling` (before). `share` and `base`
    /// are the keys, and the values without them, for the share of each head that is rotated and for the base.
    pub fn rotary(
        &self,
        head_dim: usize,
        max_positions: usize,
        share: (&str, f64),
        base: (&str, f64),
    ) -> Result<RotarySpec> {
        let named = ["rope_parameters", "rope_scaling"].iter().find_map(|key| Some((*key, self.get(key)?)));
        self.rotary_from(named, (head_dim, max_positions), share, base)
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
        let own = self.get("rope_parameters").and_then(|all| all.get(kind)).filter(|own| !own.is_null());
        let scaled = self.get("rope_scaling").filter(|_| kind == "full_attention");
        let named = own.map(|own| ("rope_parameters", own)).or(scaled.map(|scaled| ("rope_scaling", scaled)));
        self.rotary_from(named, (head_dim, max_positions), ("partial_rotary_factor", 1.0), base)
    }

    fn rotary_from(
        &self,
        named: Option<(&str, &Value)>,
        (head_dim, max_positions): (usize, usize),
        share: (&str, f64),
        base: (&str, f64),
    ) -> Result<RotarySpec> {
        if let Some((key, other)) = named.filter(|(_, value)| !value.is_object()) {
            return Err(self.no(key, other, "an object"));
        }
        let empty = Value::Object(serde_json::Map::new());
        let scaling = Config::new(&self.path, named.map_or(&empty, |(_, value)| value))?;
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
