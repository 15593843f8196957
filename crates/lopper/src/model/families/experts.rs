//! Experts in the place of a feed-forward layer: a router sends every token to a few of them.

use serde_json::Value;

use super::config::Config;
pub use super::expert_names::{ExpertNames, Matrices, OwnNorms, Shared};
use super::llama_form::LlamaForm;
use crate::autograd::{Groups, Routing, Scoring};
use crate::error::Result;
use crate::model::block_spec::Branch;
use crate::model::builder::{BlockBuilder, BranchBuilder};

/// More experts than any layer has, and than any model has in all its layers.
const MOST_EXPERTS: usize = 1 << 12;
const MOST_OF_ALL: usize = 1 << 17;
/// What families, and versions of transformers, call the number of experts.
pub const COUNTS: [&str; 4] = ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"];

/// The experts of a model.
#[derive(Clone)]
pub struct Experts {
    /// How they are chosen.
    pub routing: Routing,
    /// Neurons of each.
    pub width: usize,
    pub names: ExpertNames,
    /// Whether the router has a bias.
    pub router_bias: bool,
    /// What is added to the scores where experts are chosen.
    pub correction: Option<&'static str>,
    /// What the output of each is multiplied by.
    pub factors: Option<&'static str>,
    pub norms: Option<OwnNorms>,
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
        let matrices = config.stacked.map_or(Matrices::PLAIN, Matrices::stacked);
        let names = ExpertNames { matrices, ..ExpertNames::PLAIN };
        Ok(Self {
            routing,
            width,
            names,
            router_bias: false,
            correction: None,
            factors: None,
            norms: None,
            shared: None,
            blocks,
        })
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
        let shared = ["n_shared_experts", "num_shared_experts"].into_iter().find(|key| config.get(key).is_some());
        let width = shared.map_or(Ok(1), |key| config.size(key))? * experts.width;
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
            return Err(config.wrong(format!("a token goes to {top_k} experts, more than the {experts} experts")));
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

impl LlamaForm {
    /// Experts and the router that chooses of them.
    pub fn experts(&self, block: &mut BlockBuilder, experts: &Experts) -> Branch {
        let Experts { routing, names, shared, norms, .. } = experts;
        let mut branch = block.branch("experts", self.hidden);
        let x = self.normed(&mut branch, BranchBuilder::INPUT, self.norms.before_mlp);
        let [of_router, of_experts] = norms.map_or([x, x], |norms| {
            let states = branch.norm_of_router(BranchBuilder::INPUT, self.norm.epsilon, norms.router);
            let factor = (self.hidden as f64).powf(-0.5) as f32;
            [branch.scale(states, Some(factor)), branch.norm(BranchBuilder::INPUT, self.norm, norms.before)]
        });
        let scores = branch.score(of_router, names.router, routing.experts, experts.router_bias);
        let routes = branch.route(scores, *routing, experts.correction);
        let factors = experts.factors.map(|name| branch.factors(name, routing.experts));
        let of_expert = |expert: usize| {
            let own = branch.reaching(of_experts, routes, expert, routing);
            let y = self.expert(&mut branch, own, names.matrices, (names.around(expert), experts.width));
            factors.map_or(y, |factors| branch.times(y, factors, expert))
        };
        let outputs: Vec<usize> = (0..routing.experts).map(of_expert).collect();
        let mut y = branch.combine(routes, &outputs);
        y = self.normed(&mut branch, y, norms.map(|norms| norms.after));
        if let Some(shared) = shared {
            let around = (shared.name.to_owned(), String::new());
            let mut z = self.expert(&mut branch, x, shared.matrices, (around, shared.width));
            if let Some(gate) = shared.gate {
                let gate = branch.score(x, gate, 1, false);
                z = branch.gate_rows(z, gate);
            }
            z = self.normed(&mut branch, z, norms.map(|norms| norms.after_shared));
            y = branch.add(y, z);
        }
        self.leave(branch, y, self.norms.after_mlp)
    }

    /// One expert: what stands around the names of its matrices, and its width.
    fn expert(
        &self,
        branch: &mut BranchBuilder,
        x: usize,
        matrices: Matrices,
        ((before, after), width): ((String, String), usize),
    ) -> usize {
        branch.weights = matrices.form();
        let named = |name: &str| match matrices {
            Matrices::Apart { .. } => (format!("{before}.{name}.weight{after}"), None),
            Matrices::Stacked { .. } => (format!("{before}.{name}{after}"), None),
            Matrices::Clamped { .. } => {
                (format!("{before}.{name}{after}"), Some(format!("{before}.{name}_bias{after}")))
            }
        };
        let mut linear = |role, name, d_out| branch.linear_named(x, role, named(name), d_out);
        let (down, activated) = match matrices {
            Matrices::Apart { gate, up, down } => {
                let (gate, up) = (linear("gate", gate, width), linear("up", up, width));
                (down, branch.gated(self.activation, gate, up))
            }
            Matrices::Stacked { gate_up, down, .. } => {
                let fused = linear("gate_up", gate_up, 2 * width);
                let [gate, up] = branch.split(fused, [width; 2]);
                (down, branch.gated(self.activation, gate, up))
            }
            Matrices::Clamped { gate_up, down, gate } => {
                let pairs = linear("gate_up", gate_up, 2 * width);
                (down, branch.clamped_gate(gate, pairs))
            }
        };
        branch.linear_named(activated, "down", named(down), self.hidden)
    }
}
