//! Latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1): keys and values are made of a narrow value, beside which one key for all
//! heads carries the positions.

use lopper_kernels::RotaryPairs;

use super::config::Config;
use super::llama_form::LlamaForm;
use super::rotary_config::RotaryDefaults;
use crate::autograd::{AttentionLayout, Part};
use crate::error::Result;
use crate::model::block_spec::Branch;
use crate::model::builder::{BlockBuilder, BranchBuilder, Norm};

/// ε of the norms within, whatever config.json says of the others.
const EPSILON: f32 = 1e-6;

/// Widths of latent attention.
#[derive(Clone, Copy)]
pub struct Latent {
    /// Of what queries are made of; `None` makes them of the states.
    query_rank: Option<usize>,
    /// Of what keys and values are made of.
    rank: usize,
    /// Of a head of queries and keys: what does not turn, and what does.
    still: usize,
    turned: usize,
    /// Of a head of values.
    value: usize,
    /// Factor of the scores.
    scale: f32,
}

impl LlamaForm {
    /// The attention of every block becomes latent. `query_rank` is what there is without the key.
    pub fn read_latent(&mut self, config: &Config, query_rank: usize, neighbours: bool) -> Result<()> {
        let key = "q_lora_rank";
        let is_null = config.has(key) && config.get(key).is_none();
        let query_rank = if is_null { None } else { Some(config.size_or(key, query_rank)?) };
        let [still, turned] = [("qk_nope_head_dim", 128), ("qk_rope_head_dim", 64)];
        let (still, turned) = (config.width_of_head(still.0, still.1)?, config.width_of_head(turned.0, turned.1)?);
        let defaults = RotaryDefaults { share: None, base: ("rope_theta", 10_000.0), original: None };
        let mut rotary = config.rotary((turned, self.max_positions), &defaults)?;
        rotary.pairs = if neighbours { RotaryPairs::Neighbours } else { RotaryPairs::Halves };
        // beyond what was trained on queries and keys both grow
        let grown = config.growth()?;
        self.rotary = vec![rotary];
        self.latent = Some(Latent {
            query_rank,
            rank: config.size_or("kv_lora_rank", 512)?,
            still,
            turned,
            value: config.width_of_head("v_head_dim", 128)?,
            scale: (grown * grown / ((still + turned) as f64).sqrt()) as f32,
        });
        Ok(())
    }

    pub fn latent_attention(&self, block: &mut BlockBuilder, latent: Latent, table: usize) -> Branch {
        let Latent { query_rank, rank, still, turned, value, scale } = latent;
        let (heads, key) = (self.heads, still + turned);
        let norm = Norm { epsilon: EPSILON, ..self.norm };
        let mut branch = block.branch("attention", self.hidden);
        let x = self.normed(&mut branch, BranchBuilder::INPUT, self.norms.before_attention);
        let queries = match query_rank {
            Some(rank) => {
                let narrow = branch.linear(x, "query_a", "self_attn.q_a_proj", rank, self.input_bias);
                let narrow = branch.norm(narrow, norm, "self_attn.q_a_layernorm");
                branch.linear(narrow, "query_b", "self_attn.q_b_proj", heads * key, false)
            }
            None => branch.linear(x, "query", "self_attn.q_proj", heads * key, false),
        };
        let narrow = branch.linear(x, "key_value_a", "self_attn.kv_a_proj_with_mqa", rank + turned, self.input_bias);
        let [narrow, shared] = branch.split(narrow, [rank, turned]);
        let narrow = branch.norm(narrow, norm, "self_attn.kv_a_layernorm");
        let both = branch.linear(narrow, "key_value_b", "self_attn.kv_b_proj", heads * (still + value), false);
        let of_queries = branch.columns(queries, (0..heads).map(|head| head * key + still..(head + 1) * key));
        let of_queries = branch.rotary(of_queries, turned, table);
        let shared = branch.rotary(shared, turned, table);
        // the kernel knows heads of one width
        let wide = key.max(value);
        let rest = |width: usize| Part::Zeros(wide - width);
        let query = branch.join(
            &[queries, of_queries],
            (0..heads).flat_map(|head| {
                let own = Part::Of(0, head * key..head * key + still);
                [own, Part::Of(1, head * turned..(head + 1) * turned), rest(key)]
            }),
        );
        let start = |head: usize| head * (still + value);
        let key = branch.join(
            &[both, shared],
            (0..heads)
                .flat_map(|head| [Part::Of(0, start(head)..start(head) + still), Part::Of(1, 0..turned), rest(key)]),
        );
        let values = branch.join(
            &[both],
            (0..heads).flat_map(|head| [Part::Of(0, start(head) + still..start(head + 1)), rest(value)]),
        );
        let layout = AttentionLayout { scale, ..AttentionLayout::new(heads, wide) };
        let mixed = branch.attention([query, key, values], layout);
        let mixed = if wide == value {
            mixed
        } else {
            branch.columns(mixed, (0..heads).map(|head| head * wide..head * wide + value))
        };
        let y = branch.linear(mixed, "output", self.names.output, self.hidden, self.output_bias);
        branch.cached = Some(rank + turned);
        self.leave(branch, y, self.norms.after_attention)
    }
}
