//! Experts in the place of a feed-forward layer: a router sends every token to a few of them.

use serde_json::Value;

use super::config::Config;
use crate::autograd::{Groups, Routing, Scoring};
use crate::checkpoint::part_of;
use crate::error::Result;

/// More experts than any layer has, and than any model has in all its layers.
const MOST_EXPERTS: usize = 1 << 12;
const MOST_OF_ALL: usize = 1 << 17;
/// What families, and versions of transformers, call the number of experts.
pub const COUNTS: [&str; 4] = ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"];

/// Names of the matrices of experts.
#[derive(Clone, Copy)]
pub struct ExpertNames {
    pub router: &'static str,
    /// What stands before the names of those of all experts.
    pub experts: &'static str,
    pub matrices: Matrices,
}

/// How the files have the matrices of an expert.
#[derive(Clone, Copy)]
pub enum Matrices {
    /// Each by itself, behind the number of the expert.
    Apart { gate: &'static str, up: &'static str, down: &'static str },
    /// Gates and what they gate in one, first the gates, those of all experts stacked: the names of the tensors.
    Stacked { gate_up: &'static str, down: &'static str },
}

impl Matrices {
    /// As most families have them.
    pub const PLAIN: Self = Self::Apart { gate: "gate_proj", up: "up_proj", down: "down_proj" };
}

impl ExpertNames {
    /// As most families have them.
    pub const PLAIN: Self = Self { router: "mlp.gate", experts: "mlp.experts", matrices: Matrices::PLAIN };

    /// The same as transformers 5 has them in memory, and some files.
    pub const STACKED: Self =
        Self { matrices: Matrices::Stacked { gate_up: "gate_up_proj", down: "down_proj" }, ..Self::PLAIN };

    /// What stands before and after the name of a matrix of an expert.
    pub fn around(&self, expert: usize) -> (String, String) {
        match self.matrices {
            Matrices::Apart { .. } => (format!("{}.{expert}", self.experts), String::new()),
            Matrices::Stacked { .. } => (self.experts.into(), part_of("", expert)),
        }
    }
}

/// An expert that every token goes to.
#[derive(Clone, Copy)]
pub struct Shared {
    pub name: &'static str,
    pub matrices: Matrices,
    pub width: usize,
    /// What says how much it counts for a token.
    pub gate: Option<&'static str>,
}

/// The experts of a model.
#[derive(Clone)]
pub struct Experts {
    /// How they are chosen.
    pub routing: Routing,
    /// Neurons of each.
    pub width: usize,
    pub names: ExpertNames,
    /// What is added to the scores where experts are chosen.
    pub correction: Option<&'static str>,
    pub shared: Option<Shared>,
    /// Which blocks have them.
    pub blocks: Vec<bool>,
}

/// What a family has where config.json says nothing of experts that are scored each by itself.
pub struct Apart {
    pub normalised: bool,
    /// How many groups there are, and how many are chosen from.
    pub groups: [usize; 2],
    /// Of the weights.
    pub factor: f64,
}

impl Experts {
    /// Experts of this width of which the scores are shares of all, in every block: how many, and how many for a token, unless the file
    /// says otherwise.
    pub fn shares(config: &Config, [experts, top_k]: [usize; 2], width: usize) -> Result<Self> {
        let says = COUNTS.iter().any(|key| config.get(key).is_some());
        let routing = Routing {
            experts: if says { config.size_of(&COUNTS)? } else { experts },
            top_k: config.size_or("num_experts_per_tok", top_k)?,
            scoring: Scoring::Softmax,
            normalised: config.flag_or("norm_topk_prob", false)?,
            factor: 1.0,
            groups: None,
        };
        let blocks = vec![true; config.blocks()?];
        let names = if config.stacked { ExpertNames::STACKED } else { ExpertNames::PLAIN };
        Ok(Self { routing, width, names, correction: None, shared: None, blocks })
    }

    /// Experts that are scored each by itself, in groups, in all blocks but the first few: as DeepSeek-V3 has them.
    pub fn apart(config: &Config, defaults: &Apart) -> Result<Self> {
        let &Apart { normalised, groups: [count, kept], factor } = defaults;
        let numbers = [config.size_of(&COUNTS)?, config.size("num_experts_per_tok")?];
        let mut experts = Self::shares(config, numbers, config.size("moe_intermediate_size")?)?;
        let (count, kept) = (config.size_or("n_group", count)?, config.size_or("topk_group", kept)?);
        let groups = Groups { count, kept, best: 2 };
        let routing = &mut experts.routing;
        routing.scoring = Scoring::Sigmoid;
        routing.normalised = config.flag_or_null("norm_topk_prob", normalised)?;
        routing.factor = config.positive_or("routed_scaling_factor", factor)? as f32;
        routing.groups = Some(groups).filter(|groups| groups.count > 1);
        experts.correction = Some("mlp.gate.e_score_correction_bias");
        let width = config.size_or("n_shared_experts", 1)? * experts.width;
        experts.shared = Some(Shared { name: "mlp.shared_experts", matrices: Matrices::PLAIN, width, gate: None });
        Ok(experts)
    }

    /// The first blocks have a feed-forward layer, as many as a key says.
    pub fn begin_after(&mut self, config: &Config, key: &str, default: u64) -> Result<()> {
        let first = config.number_or(key, default as f64)?;
        self.blocks.iter_mut().enumerate().for_each(|(block, has)| *has &= block as f64 >= first);
        Ok(())
    }

    /// Blocks that `decoder_sparse_step` passes over, or `mlp_only_layers` names, have a feed-forward layer.
    pub fn leave_out(&mut self, config: &Config) -> Result<()> {
        let step = config.size_or("decoder_sparse_step", 1)?;
        let dense =
            if config.get("mlp_only_layers").is_some() { config.numbers("mlp_only_layers")? } else { Vec::new() };
        for (block, has) in self.blocks.iter_mut().enumerate() {
            *has &= (block + 1).is_multiple_of(step) && !dense.contains(&(block as f64));
        }
        Ok(())
    }

    /// Blocks that `mlp_layer_types` calls sparse have experts; without that list all but the first.
    pub fn read_kinds(&mut self, config: &Config) -> Result<()> {
        let key = "mlp_layer_types";
        let kinds = config.get(key);
        for (block, has) in self.blocks.iter_mut().enumerate() {
            *has = match kinds.map(|kinds| kinds.get(block).and_then(Value::as_str)) {
                None => block > 0,
                Some(Some("sparse")) => true,
                Some(Some("dense")) => false,
                Some(_) => {
                    return Err(config.wrong(format!("{key:?} says neither \"sparse\" nor \"dense\" of block {block}")));
                }
            };
        }
        Ok(())
    }

    /// That there are so many to choose from.
    pub fn check(&self, config: &Config) -> Result<()> {
        let Routing { experts, top_k, groups, .. } = self.routing;
        if experts > MOST_EXPERTS {
            return Err(config.wrong(format!("{experts} experts are more than {MOST_EXPERTS}")));
        }
        if experts * self.blocks.len() > MOST_OF_ALL {
            let problem = format!("{experts} experts in {} blocks are more than {MOST_OF_ALL}", self.blocks.len());
            return Err(config.wrong(problem));
        }
        if top_k > experts {
            return Err(config.wrong(format!("\"num_experts_per_tok\" is {top_k}, more than the {experts} experts")));
        }
        let Some(Groups { count: groups, kept, best }) = groups else { return Ok(()) };
        if !experts.is_multiple_of(groups) || experts / groups < best {
            return Err(config.wrong(format!("{experts} experts are not {groups} groups of {best} or more")));
        }
        if kept > groups || kept * (experts / groups) < top_k {
            return Err(config.wrong(format!(
                "\"topk_group\" is {kept}: {top_k} experts cannot be chosen from so many of {groups} groups"
            )));
        }
        Ok(())
    }
}
