//! Patterns by matrix: rules, ratios by outliers, scores compared beyond a matrix; from the plan to the files written.

use crate::demo;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lopper::autograd::Tape;
use lopper::calibration::{
    HiddenDtype, HiddenStates, InputStatistics, Needs, Sampling, Storage, batches, draw_windows,
};
use lopper::evaluation::open_tokenizer;
use lopper::method::compensation::COMPENSATIONS;
use lopper::method::criterion::CRITERIA;
use lopper::method::{LayerProblem, Method, SolverSettings};
use lopper::model::{Context, Decoder, DecoderSpec, LinearId, NoTap, Sequences, Tap, describe};
use lopper::plan::{Allocation, Granularity, Measured, Plan, PruningPlan, Ratios, ReconstructionPlan, Rule};
use lopper::reconstruction::{Layers, Matching, Segment, Window, WindowData, reconstruct};
use lopper::report::Report;
use lopper::sparsity::allocation::Histogram;
use lopper::sparsity::{Extent, Mask, Pattern, Scope};
use lopper::tensor::Tensor;
use lopper::text::read_text;
use lopper_kernels::Precision;
use proptest::prelude::*;

use demo::{Demo, weights};

/// A model that is only shapes.
fn spec(blocks: usize, hidden: usize, intermediate: usize) -> DecoderSpec {
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": 64, "hidden_size": hidden, "intermediate_size": intermediate,
        "num_hidden_layers": blocks, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 4096,
        "tie_word_embeddings": true,
    });
    describe(Path::new("config.json"), &config).expect("valid")
}

fn rules(texts: &[&str]) -> Vec<Rule> {
    texts.iter().map(|text| text.parse().expect("a rule")).collect()
}

/// How many weights of a matrix [d_out, d_in] a pattern prunes.
fn pruned(pattern: Option<&Pattern>, [d_out, d_in]: [usize; 2]) -> usize {
    match pattern {
        None => 0,
        Some(&(Pattern::NofM { keep, of } | Pattern::Inputs { keep, of, .. } | Pattern::Outputs { keep, of })) => {
            d_out * d_in / of * (of - keep)
        }
        Some(&Pattern::Unstructured { sparsity, scope: Scope::Row }) => d_out * Pattern::pruned_of(sparsity, d_in),
        Some(&Pattern::Unstructured { sparsity, scope: Scope::Matrix }) => Pattern::pruned_of(sparsity, d_out * d_in),
    }
}

/// Zeros and weights of the matrices that `counts` says.
fn total(allocation: &Allocation, spec: &DecoderSpec, counts: impl Fn(LinearId) -> bool) -> (usize, usize) {
    let counted = allocation.iter().filter(|(id, _)| counts(*id));
    let each = counted.map(|(id, pattern)| (pruned(pattern, spec.linear(id).shape), spec.linear(id).weights()));
    each.fold((0, 0), |(zeros, all), (pruned, weights)| (zeros + pruned, all + weights))
}

fn allocate(spec: &DecoderSpec, change: impl Fn(&mut PruningPlan)) -> Allocation {
    let mut plan = Plan::default();
    change(&mut plan.pruning);
    plan.targets(spec).and_then(|targets| targets.allocate(&Measured::default())).expect("valid")
}

#[test]
fn the_first_rule_that_matches_decides() {
    let spec = spec(12, 64, 96);
    let asked = ["layers.1=dense", "down_proj=2:4", r"layers\.(0|11)\.mlp=0.25", "mlp=4:8"];
    let allocation = allocate(&spec, |pruning| pruning.rules = rules(&asked));
    for (id, pattern) in allocation.iter() {
        let told = pattern.map_or_else(|| "dense".into(), Pattern::to_string);
        let expected = match (id.block, spec.linear(id).role) {
            (1, _) => "dense",
            (_, "down") => "2:4",
            (0 | 11, "gate" | "up") => "25%",
            (_, "gate" | "up") => "4:8",
            _ => "50%",
        };
        assert_eq!(told, expected, "{id:?}");
    }
}

#[test]
fn plain_uniform_patterns_are_those_asked_for() {
    let spec = spec(3, 64, 96);
    for scope in [Scope::Row, Scope::Matrix] {
        let allocation = allocate(&spec, |pruning| (pruning.sparsity, pruning.scope) = (Some(0.5), Some(scope.into())));
        let half = Pattern::unstructured(0.5, scope).expect("valid");
        assert!(allocation.iter().all(|(_, pattern)| pattern == Some(&half)));
    }
    let groups = allocate(&spec, |pruning| pruning.pattern = Some("2:4".into()));
    assert!(groups.iter().all(|(_, pattern)| pattern == Some(&Pattern::NofM { keep: 2, of: 4 })));
}

/// The problem and the hint of a plan that must be refused.
fn refused(spec: &DecoderSpec, change: Change) -> (String, String) {
    let mut plan = Plan::default();
    change(&mut plan.pruning);
    let error = plan.validate(spec).expect_err("refused");
    (error.to_string(), error.hint().unwrap_or_default().to_owned())
}

/// What makes a plan wrong.
type Change<'a> = &'a dyn Fn(&mut PruningPlan);

#[test]
fn what_contradicts_itself_is_refused_with_a_hint() {
    let spec = spec(4, 64, 90);
    let cases: &[(Change, &str, &str)] = &[
        (&|p| p.rules = rules(&["down_prj=2:4"]), "\"down_prj\" matches no matrix", "layers.0.mlp.down_proj.weight"),
        (&|p| p.rules = rules(&["embed_tokens=0.5"]), "matches no matrix", "names near it"),
        (&|p| p.rules = rules(&["layers.(=0.5"]), "not a regular expression", "for example"),
        (&|p| p.rules = rules(&["mlp=0.5", "up_proj=2:4"]), "\"up_proj\" decides nothing", "narrower one first"),
        (&|p| p.rules = rules(&[".*=dense"]), "every matrix dense", "nothing to prune"),
        (&|p| p.rules = rules(&["mlp=1.5"]), "outside [0, 1)", "share"),
        (
            &|p| p.rules = rules(&["down_proj=2:4"]),
            "2:4 does not divide the 90 inputs of model.layers.0.mlp.down_proj.weight",
            "rule",
        ),
        (&|p| p.pattern = Some("2:4".into()), "does not divide the 90 inputs", "divides every width"),
        (&|p| (p.ratios, p.pattern) = (Ratios::Owl, Some("2:4".into())), "N:M", "leave out the ratios"),
        (&|p| (p.ratios, p.scope) = (Ratios::Owl, Some(Extent::Model)), "both say", "leave out the ratios"),
        (&|p| (p.ratios, p.sparsity) = (Ratios::Owl, Some(0.05)), "leaves [0, 1)", "leave out the ratios"),
        (&|p| (p.ratios, p.owl_threshold) = (Ratios::Owl, f64::NAN), "owl_threshold", "leave out the ratios"),
        (&|p| (p.ratios, p.owl_lambda) = (Ratios::Owl, -0.1), "owl_lambda", "leave out the ratios"),
        (&|p| (p.scope, p.pattern) = (Some(Extent::Model), Some("2:3".into())), "has no scope", "leave out the scope"),
        (
            &|p| (p.scope, p.criterion) = (Some(Extent::Block), Some("sparsegpt".into())),
            "no scores to compare",
            "--scope row",
        ),
        (
            &|p| (p.pattern, p.criterion, p.rules) = (Some("1:2".into()), Some("mrp".into()), rules(&["up_proj=0.5"])),
            "subsets of N:M",
            "obs",
        ),
    ];
    for (change, problem, hint) in cases {
        let (told, tried) = refused(&spec, change);
        assert!(told.contains(problem), "{told} should say {problem}");
        assert!(tried.contains(hint), "{told}: {tried} should say {hint}");
    }
    // a rule heals what the widths of one matrix forbid
    let mut plan = Plan::default();
    (plan.pruning.pattern, plan.pruning.rules) = (Some("2:4".into()), rules(&["down_proj=1:2"]));
    plan.validate(&spec).expect("fits");
}

#[test]
fn a_plan_with_rules_survives_its_file() {
    let text = "model = 'demo'\n[pruning]\nratios = 'owl'\n[[pruning.rules]]\nmatrices = 'down_proj'\npattern = '2:4'\n\
                [[pruning.rules]]\nmatrices = 'layers.0'\nsparsity = 0.3\nscope = 'matrix'\n[[pruning.rules]]\nmatrices = 'q_proj'\ndense = true\n";
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), text).expect("written");
    let plan = Plan::read(file.path()).expect("a plan");
    assert_eq!(plan.pruning.rules.len(), 3);
    std::fs::write(file.path(), plan.to_toml().expect("TOML")).expect("written");
    assert_eq!(Plan::read(file.path()).expect("a plan"), plan);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn zeros_add_up_to_the_target_whatever_shares_it(
        (blocks, width, intermediate) in (1usize..20, 2usize..60, 1usize..500),
        sparsity in 0.1..0.9f64,
        ruled in 0.0..1.0f64,
        (owl, by_row) in any::<(bool, bool)>(),
        shares in prop::collection::vec(0.0..0.1f64, 20),
    ) {
        let spec = spec(blocks, 4 * width, intermediate);
        let mut plan = Plan::default();
        plan.pruning.sparsity = Some(sparsity);
        plan.pruning.scope = Some(if by_row { Extent::Row } else { Extent::Matrix });
        plan.pruning.ratios = if owl { Ratios::Owl } else { Ratios::Uniform };
        plan.pruning.rules = vec![Rule { sparsity: Some(ruled), ..rules(&["up_proj=0"]).remove(0) }, rules(&["q_proj=dense"]).remove(0)];
        let measured = Measured { outliers: shares.iter().copied().enumerate().collect(), ..Measured::default() };
        let targets = plan.targets(&spec).expect("valid");
        let allocation = targets.allocate(&measured).expect("measured");
        let role = |id: LinearId| spec.linear(id).role;
        let up = |id: LinearId| role(id) == "up";
        let shared = |id: LinearId| !matches!(role(id), "up" | "query");
        let mut sum = 0;
        for (zeros, weights, share) in [(total(&allocation, &spec, up), ruled), (total(&allocation, &spec, shared), sparsity)].map(|((z, w), s)| (z, w, s)) {
            let target = Pattern::pruned_of(share, weights);
            sum += target;
            if by_row {
                let largest = spec.linear_ids().map(|id| spec.linear(id).shape[0]).max().expect("matrices");
                prop_assert!(zeros <= target && target - zeros < largest, "{zeros} of {target}");
            } else {
                prop_assert_eq!(zeros, target);
            }
        }
        prop_assert_eq!(targets.zeros().0, sum);
        prop_assert!(allocation.iter().all(|(id, pattern)| (role(id) == "query") == pattern.is_none()));
        for (id, pattern) in allocation.iter().filter(|(id, _)| shared(*id)) {
            let unit = if by_row { 1.0 / spec.linear(id).shape[1] as f64 } else { 1.0 / total(&allocation, &spec, |other| other == id).1 as f64 };
            let far = (pattern.expect("pruned").sparsity() - sparsity).abs();
            prop_assert!(far <= if owl { 0.08 } else { 0.0 } + unit + 1e-9, "{far} from {sparsity}");
        }
    }

    #[test]
    fn competing_matrices_lose_the_target_together(
        sparsity in 0.0..1.0f64,
        extent in prop::sample::select(vec![Extent::Block, Extent::Model]),
        scale in prop::collection::vec(0.1..10.0f32, 3 * 7),
    ) {
        let spec = spec(3, 8, 12);
        let mut plan = Plan::default();
        (plan.pruning.sparsity, plan.pruning.scope) = (Some(sparsity), Some(extent));
        let targets = plan.targets(&spec).expect("valid");
        prop_assert!(targets.allocate(&Measured::default()).is_err(), "what was not measured is not made up");
        let mut measured = Measured::default();
        for id in spec.linear_ids() {
            let scale = scale[spec.linear_number(id)];
            let score = |place: usize| scale * ((place * 7919 + id.block) % 101) as f32;
            let scores = Tensor::new(spec.linear(id).shape, (0..spec.linear(id).weights()).map(score).collect());
            measured.scores.insert(id, Histogram::new(&scores));
        }
        let allocation = targets.allocate(&measured).expect("measured");
        let (zeros, weights) = total(&allocation, &spec, |_| true);
        prop_assert_eq!(zeros, Pattern::pruned_of(sparsity, weights));
        for block in (0..3).filter(|_| extent == Extent::Block) {
            let (zeros, weights) = total(&allocation, &spec, |id| id.block == block);
            prop_assert!((zeros as f64 - sparsity * weights as f64).abs() <= 1.0, "{zeros} of {weights}");
        }
    }
}

#[test]
fn a_layer_without_a_mask_does_not_train() {
    let demo = Demo::new();
    let decoder = demo.open("model").expect("a decoder");
    let dense = decoder.load_block(1).expect("a block");
    let mut block = dense.clone();
    let up = block.spec.linears.iter().position(|linear| linear.role == "up").expect("an mlp");
    let [d_out, d_in] = block.spec.linears[up].shape;
    let mask = Mask::new(d_in, (0..d_out * d_in).map(|place| u8::from(place % 2 == 0)).collect());
    let weight = block.spec.linears[up].weight;
    lopper_kernels::apply_mask(block.tensors[weight].host_mut(), mask.as_slice());
    let (masked, masks) = (block.weight(up).clone(), BTreeMap::from([(up, mask)]));
    let windows: Vec<Vec<u32>> =
        (0..6).map(|window| (0..64).map(|token| (token * 37 + window) % 500).collect()).collect();
    let inputs = HiddenStates::embed(&decoder, &windows, HiddenDtype::F32, &Storage::Memory).expect("embedded");
    let rotary = decoder.rotary(64);
    let mut targets = inputs.clone();
    let forward = |x: &Tensor, sequences: &Sequences| {
        let (mut tape, context) = (Tape::new(Precision::F32), Context { sequences, rotary: &rotary });
        let y = dense.stage(1, &dense.constants(), &mut tape, &x.into(), context, &mut NoTap)?;
        Ok((y.tensor().clone(), ()))
    };
    targets.advance(2, forward, |_, _, ()| Ok(())).expect("forward");
    let plan = ReconstructionPlan { learning_rate: 0.01, ..ReconstructionPlan::default() };
    let settings = plan.settings(Precision::F32, 0);
    let mlp = block.spec.branch_ids(0).filter(|branch| branch.at.stage == 1).collect();
    let segments = vec![Segment { block: &mut block, layers: Layers::Stages(1..2, mlp), masks: &masks }];
    let mut window = Window { segments, rotary: &rotary, drifts: false };
    let objective = Matching { targets: &targets, loss: plan.loss };
    let data = WindowData { inputs: &inputs, objective: &objective, train: 4 };
    let outcome = reconstruct(&mut window, &data, &settings, &mut |_| ()).expect("trained");
    assert!(outcome.restored == 0 && outcome.held_out_after < outcome.held_out_before, "{outcome:?}");
    for linear in 0..block.spec.linears.len() {
        let before = if linear == up { &masked } else { dense.weight(linear) };
        assert_eq!(before == block.weight(linear), linear != up, "{linear}");
    }
}

#[test]
fn a_matrix_may_lose_everything() {
    let columns = 8;
    let weight = (0..32).map(|place| (place as f32 - 15.5) / 16.0).collect();
    let weight = Tensor::new([4, columns], weight);
    let mut inputs = InputStatistics::new(columns, Needs::InverseHessian);
    inputs.add(&(0..10 * columns).map(|place| ((place * place) % 17) as f32 / 17.0).collect::<Vec<_>>());
    inputs.finish(0.01);
    let pattern = Pattern::exactly(weight.len(), weight.len(), Scope::Matrix);
    for criterion in CRITERIA {
        let selection = criterion.selection(None).expect("its own order");
        for compensation in COMPENSATIONS.iter().filter(|_| selection.check(&pattern).is_ok()) {
            let method = Method { selection: selection.clone(), compensation: *compensation };
            let (settings, seed) = (SolverSettings::default(), 0);
            let problem = LayerProblem { weight: &weight, inputs: &inputs, pattern: &pattern, seed, settings };
            let solution = method.solve(&problem).expect("its parts fit");
            assert!(solution.weight.count_zeros() == weight.len(), "{} {}", criterion.name, compensation.name);
            let error = solution.facts.error_pruned.expect("Gram was given");
            assert!((error - 1.0).abs() < 1e-6, "{error}");
        }
    }
}

/// Only masks: no compensation, no training.
fn masks_only(demo: &Demo, change: impl Fn(&mut PruningPlan)) -> Plan {
    let mut plan = demo.plan();
    plan.pruning.compensation = "none".into();
    plan.reconstruction.granularity = Granularity::None;
    change(&mut plan.pruning);
    plan
}

fn matrix(decoder: &Decoder, id: LinearId) -> Vec<f32> {
    decoder.load_weight(id).expect("weight").into_vec()
}

#[test]
fn matrices_left_dense_are_the_same_to_the_byte() {
    let demo = Demo::new();
    let mut plan = demo.plan();
    plan.reconstruction.epochs = 1;
    plan.pruning.rules = rules(&["layers.2=dense", "o_proj=dense", "down_proj=2:4", "gate_proj=0.25"]);
    let report = demo.prune(&plan, "out").expect("a valid run");
    let (before, after) = (demo.open("model").expect("a decoder"), demo.open("out").expect("a decoder"));
    let same =
        |name: &str| before.checkpoint().bytes(name).expect("there") == after.checkpoint().bytes(name).expect("there");
    let mut zeros = 0;
    let spec = before.spec();
    for (id, facts) in spec.linear_ids().zip(&report.matrices) {
        let dense = id.block == 2 || spec.linear(id).role == "output";
        let name = spec.weight_name(id);
        assert_eq!((name.as_str(), same(&name)), (facts.name.as_str(), dense));
        let (told, expected) = (
            serde_json::to_value(facts).expect("JSON"),
            match spec.linear(id).role {
                _ if dense => "dense",
                "down" => "2:4",
                "gate" => "25%",
                _ => "50%",
            },
        );
        assert_eq!(told["pattern"], expected, "{name}");
        assert_eq!(told["error_pruned"].is_null(), dense, "{name}");
        zeros += pruned(facts.pattern.as_ref(), spec.linear(id).shape);
    }
    assert!(report.windows.iter().all(|window| window.block != 2) && report.windows.len() == 6, "{:?}", report.windows);
    // the norms of a block that is left alone do not train either; the others do
    for (index, block) in spec.blocks.iter().enumerate() {
        for tensor in block.branch_ids(index).flat_map(|branch| &block.branch(branch).others) {
            let name = spec.tensor_name(index, *tensor);
            assert_eq!(same(&name), index == 2, "{name}");
        }
    }
    assert_eq!(
        (report.model.target, report.model.prunable),
        (zeros, spec.blocks.iter().map(|block| block.weights()).sum())
    );
    assert!(
        report.model.zeros >= zeros && report.model.zeros < zeros + zeros / 100,
        "{} for {zeros}",
        report.model.zeros
    );
}

/// `Σ x_j²` of the inputs of a block's matrices, by the first that reads each, in f64, one number at a time.
#[derive(Default)]
struct Squares(BTreeMap<usize, Vec<f64>>);

impl Tap for Squares {
    fn linear_input(&mut self, first: usize, input: &Tensor, _: Option<&Arc<[u32]>>) -> lopper::Result<()> {
        let squares = self.0.entry(first).or_insert_with(|| vec![0.0; input.width()]);
        for row in input.host().chunks(input.width()) {
            row.iter().zip(squares.iter_mut()).for_each(|(&x, square)| *square += f64::from(x) * f64::from(x));
        }
        Ok(())
    }
}

/// `|W_ij|·‖X_j‖` of every matrix of the dense model, by the definition, in f64.
fn naive_scores(demo: &Demo, plan: &Plan) -> BTreeMap<LinearId, Vec<f64>> {
    let decoder = demo.open("model").expect("a decoder");
    let tokenizer = open_tokenizer(&demo.path("model"), decoder.spec()).expect("tokenizer");
    let text = read_text(&plan.calibration.files[0]).expect("text");
    let tokens = tokenizer.encode_all(&text).expect("tokens");
    let calibration = &plan.calibration;
    let (length, count) = (calibration.seqlen.expect("given"), calibration.samples + calibration.held_out);
    let windows = draw_windows(&tokens, length, count, Sampling::Random, calibration.seed).expect("enough");
    let mut states = HiddenStates::embed(&decoder, &windows[..calibration.samples], HiddenDtype::F32, &Storage::Memory)
        .expect("embedded");
    let (rotary, precision) = (decoder.rotary(length), plan.compute.dtype.precision());
    let mut scores = BTreeMap::new();
    for index in 0..decoder.spec().blocks.len() {
        let (block, mut tap) = (decoder.load_block(index).expect("a block"), Squares::default());
        for indices in batches(states.len(), 4) {
            let (x, sequences) = states.batch(&indices).expect("states");
            let context = Context { sequences: &sequences, rotary: &rotary };
            let y = block.forward(&mut Tape::new(precision), &x.into(), context, &mut tap).expect("forward");
            states.set(&indices, &sequences, y.tensor()).expect("as many rows");
        }
        for (linear, spec) in block.spec.linears.iter().enumerate() {
            let (id, squares) = (LinearId { block: index, index: linear }, &tap.0[&spec.first_reader]);
            let weight = matrix(&decoder, id);
            let score = |(place, w): (usize, &f32)| f64::from(w.abs()) * squares[place % squares.len()].sqrt();
            scores.insert(id, weight.iter().enumerate().map(score).collect());
        }
    }
    scores
}

/// OWL by its definition: the outlier share of each block, and the sparsity that follows.
fn naive_owl(scores: &BTreeMap<LinearId, Vec<f64>>, sparsity: f64, threshold: f64, lambda: f64) -> Vec<f64> {
    let blocks = 1 + scores.keys().map(|id| id.block).max().expect("blocks");
    let shares: Vec<f64> = (0..blocks)
        .map(|block| {
            let all: Vec<f64> =
                scores.iter().filter(|(id, _)| id.block == block).flat_map(|(_, s)| s.clone()).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            all.iter().filter(|&&score| score > threshold * mean).count() as f64 / all.len() as f64
        })
        .collect();
    let mean = shares.iter().sum::<f64>() / blocks as f64;
    let farthest = shares.iter().map(|share| (share - mean).abs()).fold(0.0, f64::max);
    assert!(farthest > 0.0, "the blocks of the demo model differ");
    shares.iter().map(|share| sparsity - lambda * (share - mean) / farthest).collect()
}

fn zeros(report: &Report) -> usize {
    report
        .matrices
        .iter()
        .map(|facts| (facts.sparsity * (facts.shape[0] * facts.shape[1]) as f64).round() as usize)
        .sum()
}

#[test]
fn owl_is_its_definition() {
    let demo = Demo::new();
    let plan = masks_only(&demo, |pruning| {
        (pruning.ratios, pruning.scope, pruning.sparsity) = (Ratios::Owl, Some(Extent::Matrix), Some(0.6));
        (pruning.owl_threshold, pruning.owl_lambda) = (4.0, 0.1);
    });
    let report = demo.prune(&plan, "out").expect("a valid run");
    let expected = naive_owl(&naive_scores(&demo, &plan), 0.6, 4.0, 0.1);
    for facts in &report.matrices {
        // a score at the border that f32 puts on the other side moves a share by 1e-5 or so
        assert!(
            (facts.sparsity - expected[facts.block]).abs() < 2e-3,
            "{}: {} against {expected:?}",
            facts.name,
            facts.sparsity
        );
    }
    assert_eq!(zeros(&report), Pattern::pruned_of(0.6, report.model.prunable), "to the weight");
    assert_eq!(report.model.target, zeros(&report));
    let (low, high) = report
        .matrices
        .iter()
        .map(|facts| facts.sparsity)
        .fold((1.0f64, 0.0f64), |(low, high), s| (low.min(s), high.max(s)));
    assert!(high - low > 0.1 && low > 0.6 - 0.1001 && high < 0.6 + 0.1001, "{low} to {high}");
}

/// How many of the smallest scores of all are in each matrix, and the largest of them.
fn by_sorting(scores: &BTreeMap<LinearId, Vec<f64>>, target: usize) -> (BTreeMap<LinearId, usize>, f64) {
    let mut all: Vec<(f64, LinearId)> =
        scores.iter().flat_map(|(&id, scores)| scores.iter().map(move |&s| (s, id))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut counts: BTreeMap<LinearId, usize> = scores.keys().map(|&id| (id, 0)).collect();
    all[..target].iter().for_each(|(_, id)| *counts.get_mut(id).expect("a matrix") += 1);
    (counts, all[target - 1].0)
}

/// Compares a run with the sorting of all `scores`: counts may differ by what lies within a bin of the threshold.
fn check_sorted(report: &Report, spec: &DecoderSpec, scores: &BTreeMap<LinearId, Vec<f64>>) {
    let target = Pattern::pruned_of(0.6, scores.values().map(Vec::len).sum());
    let (counts, threshold) = by_sorting(scores, target);
    assert!(counts.values().collect::<std::collections::BTreeSet<_>>().len() > 1, "matrices differ");
    for (id, facts) in spec.linear_ids().zip(&report.matrices).filter(|(id, _)| scores.contains_key(id)) {
        let pruned = (facts.sparsity * scores[&id].len() as f64).round() as usize;
        let width = 1.0 + 1.0 / 127.0;
        let near = scores[&id].iter().filter(|&&score| score > threshold / width && score < threshold * width).count();
        assert!(near * 20 < scores[&id].len(), "a bin is narrow");
        assert!(
            pruned.abs_diff(counts[&id]) <= near,
            "{}: {pruned} against {}, {near} in the bin",
            facts.name,
            counts[&id]
        );
    }
}

#[test]
fn scores_compared_over_the_model_or_a_block_are_the_sorting_of_all() {
    let demo = Demo::new();
    for (criterion, extent) in [("magnitude", Extent::Model), ("wanda", Extent::Model), ("wanda", Extent::Block)] {
        let plan = masks_only(&demo, |pruning| {
            (pruning.criterion, pruning.scope, pruning.sparsity) = (Some(criterion.into()), Some(extent), Some(0.6));
        });
        let out = format!("{criterion}-{extent:?}");
        let report = demo.prune(&plan, &out).expect("a valid run");
        assert_eq!(zeros(&report), Pattern::pruned_of(0.6, report.model.prunable), "{out}: to the weight");
        let decoder = demo.open("model").expect("a decoder");
        let scores = if criterion == "wanda" {
            naive_scores(&demo, &plan)
        } else {
            let absolute = |id| matrix(&decoder, id).iter().map(|w| f64::from(w.abs())).collect();
            decoder.spec().linear_ids().map(|id| (id, absolute(id))).collect()
        };
        for block in 0..4 {
            let of_block = |id: &LinearId| extent == Extent::Model || id.block == block;
            check_sorted(
                &report,
                decoder.spec(),
                &scores.iter().filter(|(id, _)| of_block(id)).map(|(&id, s)| (id, s.clone())).collect(),
            );
        }
    }
}

#[test]
fn shares_that_are_measured_do_not_depend_on_threads_and_hold_for_the_whole_ladder() {
    let demo = Demo::new();
    let settings = [
        (Ratios::Owl, Extent::Row, "magnitude"),
        (Ratios::Uniform, Extent::Model, "wanda"),
        (Ratios::Uniform, Extent::Block, "obs"),
    ];
    for (ratios, scope, criterion) in settings {
        let outputs = [1, 2].map(|threads| {
            let mut plan = demo.plan();
            (plan.pruning.ratios, plan.pruning.scope, plan.pruning.criterion) =
                (ratios, Some(scope), Some(criterion.into()));
            (plan.compute.threads, plan.reconstruction.granularity) = (Some(threads), Granularity::None);
            plan.evaluation.ladder = threads == 1;
            let out = format!("{criterion}-{threads}");
            let report = demo.prune(&plan, &out).expect("a valid run");
            assert_eq!(report.evaluation.len(), if threads == 1 { 3 } else { 2 });
            let (zeros, target) = (zeros(&report), Pattern::pruned_of(0.5, report.model.prunable));
            assert!(
                zeros <= target && target - zeros < if scope == Extent::Row { 512 } else { 1 },
                "{zeros} of {target}"
            );
            (weights(&demo.path(&out)), serde_json::to_string(&report.matrices).expect("JSON"))
        });
        assert!(outputs[0] == outputs[1], "{criterion}");
    }
}
