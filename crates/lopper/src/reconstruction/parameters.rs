//! Which tensors of a window train: kept weights, biases, norms, or a low-rank adapter, in any combination
//! (Zimmer et al. 2023, arXiv 2312.15230; Lu et al. 2024, arXiv 2405.16057).

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::Kind;

/// A low-rank adapter `P = B·A` of every pruned matrix, merged into it when training ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterKind {
    /// `W + s·P` while it trains; what would fill a zero is dropped when it is merged.
    Lora,
    /// `W + s·P ⊙ M`
    MaskLora,
    /// `W ⊙ P`, P of ones at the beginning.
    ScaleLora,
    /// `W + W ⊙ s·P`
    Spp,
}

/// Names of adapters in plans.
const ADAPTERS: [(&str, AdapterKind); 4] = [
    ("lora", AdapterKind::Lora),
    ("masklora", AdapterKind::MaskLora),
    ("scalelora", AdapterKind::ScaleLora),
    ("spp", AdapterKind::Spp),
];

/// What trains. In plans names joined by `+`: `full` (`weights+bias+norm`), `bias+norm`, `masklora+norm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each says whether one kind of tensor trains")]
#[serde(try_from = "String", into = "String")]
pub struct Parameters {
    /// The kept weights of pruned matrices.
    pub weights: bool,
    /// The biases of pruned layers, where they have any.
    pub biases: bool,
    /// The norms before pruned layers.
    pub norms: bool,
    /// What routers of pruned experts go by.
    pub routers: bool,
    /// Filters over neighbouring tokens in pruned branches.
    pub filters: bool,
    /// How states of recurrences decay, in pruned branches.
    pub states: bool,
    /// Sinks of pruned attention.
    pub sinks: bool,
    /// An adapter beside each pruned matrix.
    pub adapter: Option<AdapterKind>,
}

impl Parameters {
    /// Kept weights, biases and norms.
    pub const FULL: Self = Self {
        weights: true,
        biases: true,
        norms: true,
        routers: false,
        filters: false,
        states: false,
        sinks: false,
        adapter: None,
    };

    /// Whether tensors of this kind train.
    pub fn train(self, kind: Kind) -> bool {
        match kind {
            Kind::Weight => self.weights,
            Kind::Bias => self.biases,
            Kind::Norm => self.norms,
            Kind::Router => self.routers,
            Kind::Convolution => self.filters,
            Kind::State => self.states,
            Kind::Sink => self.sinks,
            Kind::Factor => false,
        }
    }

    /// Whether anything trains where there are weights, and tensors of other kinds as said.
    pub fn any(self, has: impl Fn(Kind) -> bool) -> bool {
        let others = [Kind::Bias, Kind::Norm].into_iter().chain(Kind::SPECIAL);
        self.weights || self.adapter.is_some() || others.into_iter().any(|kind| self.train(kind) && has(kind))
    }
}

impl FromStr for Parameters {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parameters = Self::default();
        for name in text.split('+').map(str::trim) {
            match name {
                "full" => {
                    let Self { weights, biases, norms, .. } = Self::FULL;
                    parameters = Self { weights, biases, norms, ..parameters };
                }
                "weights" => parameters.weights = true,
                "bias" => parameters.biases = true,
                "norm" => parameters.norms = true,
                "router" => parameters.routers = true,
                "conv" => parameters.filters = true,
                "state" => parameters.states = true,
                "sink" => parameters.sinks = true,
                _ => {
                    let known = ADAPTERS.iter().find(|(known, _)| *known == name);
                    let (_, kind) = known.ok_or_else(|| {
                        format!("{name:?} does not train: known are full, weights, bias, norm, router, conv, state, sink, lora, masklora, scalelora and spp, joined by +")
                    })?;
                    if parameters.adapter.replace(*kind).is_some_and(|earlier| earlier != *kind) {
                        return Err(format!("{text:?} has two adapters: a matrix can have one"));
                    }
                }
            }
        }
        Ok(parameters)
    }
}

impl Display for Parameters {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let &Self { weights, biases, norms, routers, filters, states, sinks, adapter } = self;
        let full = weights && biases && norms;
        let named = [
            (full, "full"),
            (weights && !full, "weights"),
            (biases && !full, "bias"),
            (norms && !full, "norm"),
            (routers, "router"),
            (filters, "conv"),
            (states, "state"),
            (sinks, "sink"),
        ];
        let named = named.into_iter().filter_map(|(trains, name)| trains.then_some(name));
        let adapters = ADAPTERS.iter().filter(|(_, kind)| adapter == Some(*kind)).map(|(name, _)| *name);
        f.write_str(&named.chain(adapters).collect::<Vec<_>>().join("+"))
    }
}

impl TryFrom<String> for Parameters {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Parameters> for String {
    fn from(parameters: Parameters) -> Self {
        parameters.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{AdapterKind, Kind, Parameters};

    #[test]
    fn names_are_read_and_written() {
        for name in [
            "full",
            "weights",
            "bias",
            "norm",
            "bias+norm",
            "lora",
            "norm+masklora",
            "full+spp",
            "full+router",
            "full+conv+state",
            "full+sink",
            "scalelora",
        ] {
            let parsed: Parameters = name.parse().expect(name);
            assert_eq!(parsed.to_string(), name);
        }
        assert_eq!("weights+bias+norm".parse(), Ok(Parameters::FULL));
        let both: Parameters = "spp+norm".parse().expect("known");
        assert_eq!((both.adapter, both.norms, both.weights), (Some(AdapterKind::Spp), true, false));
    }

    #[test]
    fn something_trains_where_it_is_there() {
        let any = |name: &str, has: &[Kind]| {
            let parameters: Parameters = name.parse().expect(name);
            parameters.any(|kind| has.contains(&kind))
        };
        let all = [Kind::Bias, Kind::Norm, Kind::Router, Kind::Convolution, Kind::State, Kind::Sink];
        for (place, name) in ["bias", "norm", "router", "conv", "state", "sink"].into_iter().enumerate() {
            let others: Vec<Kind> = all.into_iter().filter(|&kind| kind != all[place]).collect();
            assert!(any(name, &all) && !any(name, &others), "{name}");
        }
        assert!(any("spp", &[]) && any("weights", &[]));
    }

    #[test]
    fn mistakes_are_named() {
        assert!("wieghts".parse::<Parameters>().expect_err("unknown").contains("wieghts"));
        assert!("lora+spp".parse::<Parameters>().expect_err("two").contains("two adapters"));
        assert!("".parse::<Parameters>().is_err());
    }
}
