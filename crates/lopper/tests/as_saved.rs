//! Checkpoints as people really have them: saved by wrappers, editors and other tools, with parts that say otherwise than config.json. What is
//! harmless is read, and means the same in the output; what is something else is named.

use crate::tiny;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use lopper::Error;
use lopper::checkpoint::{Checkpoint, Dtype, left_out};
use lopper::evaluation::{Windows, perplexity};
use lopper::model::Decoder;
use lopper::progress::{Event, Silent};
use lopper::prune::prune;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tempfile::TempDir;
use tiny::Tiny;

const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

/// A checkpoint in memory, to be saved in another way.
#[derive(Clone)]
struct Saved {
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    metadata: HashMap<String, String>,
    config: Value,
    tokenizer: Value,
}

impl Saved {
    fn read(model: &Path) -> Self {
        let json = |name: &str| serde_json::from_slice(&fs::read(model.join(name)).unwrap()).unwrap();
        let bytes = fs::read(model.join("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter();
        let tensors = tensors.map(|(name, view)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec())));
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        Self { tensors: tensors.collect(), metadata, config: json("config.json"), tokenizer: json("tokenizer.json") }
    }

    fn write(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("config.json"), self.config.to_string()).unwrap();
        fs::write(dir.join("tokenizer.json"), self.tokenizer.to_string()).unwrap();
        fs::write(dir.join("model.safetensors"), self.file(&|_| true)).unwrap();
    }

    /// A file of some of the tensors.
    fn file(&self, of: &dyn Fn(&str) -> bool) -> Vec<u8> {
        let own = self.tensors.iter().filter(|(name, _)| of(name));
        let views = own.map(|(name, (dtype, shape, bytes))| {
            (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        safetensors::serialize(views, Some(self.metadata.clone())).unwrap()
    }

    fn renamed(mut self, rename: impl Fn(&str) -> String) -> Self {
        self.tensors = self.tensors.into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect();
        self
    }

    fn without(mut self, name: &str) -> Self {
        assert!(self.tensors.remove(name).is_some());
        self
    }
}

/// A model with a head of its own, or tied to the embedding.
fn saved(tied: bool) -> (Tiny, Saved) {
    let tiny = Tiny::new(if tied { "llama/biased" } else { "llama" });
    let saved = Saved::read(&tiny.path("model"));
    assert_eq!(saved.tensors.contains_key(HEAD), !tied);
    (tiny, saved)
}

fn open(dir: &Path) -> Result<Decoder, Error> {
    Decoder::open(Checkpoint::open(dir)?)
}

/// What the model gives for a few tokens.
fn score(decoder: &Decoder) -> Vec<f64> {
    let tokens: Vec<u32> = (0..24).map(|at| (at * 7) % decoder.spec().vocabulary as u32).collect();
    let windows = Windows { length: 12, count: None };
    perplexity(decoder, &tokens, windows, lopper_kernels::Precision::F32, &mut |_| ()).unwrap().nll
}

/// Opens what was saved, and checks that it scores as `expected`, and that what is pruned of it has its names and other files.
fn holds(saved: &Saved, expected: &[f64], tiny: &Tiny) -> Vec<String> {
    let dir = TempDir::new().unwrap();
    let (model, out) = (dir.path().join("model"), dir.path().join("out"));
    saved.write(&model);
    let decoder = open(&model).unwrap();
    assert_eq!(score(&decoder), expected);
    let mut plan = tiny.plan();
    plan.pruning.sparsity = Some(0.0);
    let report = prune(&plan, &decoder, &out, &mut Silent).unwrap();
    let written = open(&out).unwrap();
    assert!(written.checkpoint().names().eq(decoder.checkpoint().names()));
    assert_eq!(score(&written), expected, "nothing was pruned");
    let notes = decoder.notes().unwrap();
    assert!(notes.iter().all(|note| report.warnings.contains(note)), "{:?}", report.warnings);
    notes
}

/// The error of opening what was saved.
fn refused(saved: &Saved) -> (String, String) {
    let dir = TempDir::new().unwrap();
    saved.write(dir.path());
    let error = open(dir.path()).err().unwrap();
    (error.to_string(), error.hint().unwrap().to_owned())
}

#[test]
fn harmless_prefixes_are_seen_through_and_kept() {
    for tied in [false, true] {
        let (tiny, saved) = saved(tied);
        let expected = score(&tiny.open("model"));
        let body = |prefix: &'static str| {
            move |name: &str| {
                name.strip_prefix("model.").map_or_else(|| name.to_owned(), |rest| format!("{prefix}{rest}"))
            }
        };
        assert!(holds(&saved.clone().renamed(body("")), &expected, &tiny).is_empty());
        assert!(holds(&saved.clone().renamed(body("model.language_model.")), &expected, &tiny).is_empty());
        for prefix in ["_orig_mod.", "module.", "base_model.model.", "a.b."] {
            let notes = holds(&saved.clone().renamed(|name| format!("{prefix}{name}")), &expected, &tiny);
            assert!(notes[0].starts_with(&format!("tensors are named {prefix}model.…")), "{notes:?}");
        }
        let notes = holds(&saved.clone().renamed(body("model.text_model.")), &expected, &tiny);
        assert!(notes[0].starts_with("tensors are named model.text_model.…"), "{notes:?}");
        let mut beside = saved.clone().renamed(|name| format!("policy.{name}"));
        beside.tensors.extend(saved.clone().renamed(|name| format!("vision.{name}")).tensors.into_iter().take(3));
        assert_eq!(holds(&beside, &expected, &tiny).len(), 1, "of the other one not all is there");
        beside.tensors.extend(saved.clone().renamed(|name| format!("reference.{name}")).tensors);
        assert!(
            refused(&beside).0.contains(
                "there are several models in the files: tensors are named policy.model.… and reference.model.…"
            )
        );
    }
}

#[test]
fn the_files_say_whether_the_head_is_the_embedding() {
    let (tiny, untied) = saved(false);
    let expected = score(&tiny.open("model"));
    let mut said = untied.clone();
    said.config["tie_word_embeddings"] = true.into();
    let notes = holds(&said, &expected, &tiny);
    assert!(
        notes[0].contains(
            "config.json ties the head to the embedding, but the files have \"lm_head.weight\", which differs"
        )
    );
    // the same numbers are no contradiction
    let same = |mut saved: Saved| {
        let embedding = saved.tensors[EMBEDDING].clone();
        saved.tensors.insert(HEAD.into(), embedding);
        saved
    };
    let (tiny, tied) = saved(true);
    let expected = score(&tiny.open("model"));
    assert!(holds(&same(tied.clone()), &expected, &tiny).is_empty());
    // one stored name stands for both
    assert!(holds(&same(tied.clone()).without(EMBEDDING), &expected, &tiny).is_empty());
    // also where only the metadata of the file say so
    for (name, of) in [(HEAD, EMBEDDING), (EMBEDDING, HEAD)] {
        let mut aliased = same(tied.clone()).without(name);
        aliased.config["tie_word_embeddings"] = false.into();
        assert!(refused(&aliased).0.contains("is missing"));
        aliased.metadata.insert(name.into(), of.into());
        assert!(holds(&aliased, &expected, &tiny).is_empty());
    }
    let layers = "model.layers.0.self_attn.k_proj.weight";
    let mut shared = tied.without(layers);
    shared.metadata.insert(layers.into(), layers.replace("k_proj", "v_proj"));
    assert!(refused(&shared).0.contains("layers share their weights"));
}

#[test]
fn files_as_editors_and_python_leave_them_are_read() {
    let (tiny, saved) = saved(false);
    let expected = score(&tiny.open("model"));
    let dir = TempDir::new().unwrap();
    saved.write(dir.path());
    let bom = |name: &str| {
        let path = dir.path().join(name);
        fs::write(&path, [&b"\xef\xbb\xbf"[..], &fs::read(&path).unwrap()].concat()).unwrap();
    };
    bom("tokenizer.json");
    let mut config = saved.config.to_string();
    config.insert_str(1, "\"loss\": NaN, \"best\": [-Infinity, Infinity], ");
    fs::write(dir.path().join("config.json"), &config).unwrap();
    bom("config.json");
    // the metadata of the header may be null
    let file = fs::read(dir.path().join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    let header = String::from_utf8(file[8..8 + length].to_vec()).unwrap();
    let header = header.replace("{\"format\":\"pt\"}", "null           ");
    assert!(header.contains("\"__metadata__\":null") && header.len() == length);
    fs::write(dir.path().join("model.safetensors"), [&file[..8], header.as_bytes(), &file[8 + length..]].concat())
        .unwrap();
    assert_eq!(score(&open(dir.path()).unwrap()), expected);
    // a number that is none is no number where one is read
    let config = saved.config.to_string().replace("\"rms_norm_eps\":", "\"rms_norm_eps\": NaN, \"_\":");
    fs::write(dir.path().join("config.json"), &config).unwrap();
    let error = open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("\"rms_norm_eps\" is [\"NaN\"], not a number"), "{error}");
}

#[test]
fn of_a_tensor_in_two_shards_that_of_the_index_counts_and_both_are_replaced() {
    let (tiny, saved) = saved(false);
    let expected = score(&tiny.open("model"));
    let (norm, weight) = ("model.norm.weight", "model.layers.0.self_attn.q_proj.weight");
    let dir = TempDir::new().unwrap();
    let model = dir.path().join("model");
    saved.write(&model);
    fs::remove_file(model.join("model.safetensors")).unwrap();
    fs::write(model.join("a.safetensors"), saved.file(&|_| true)).unwrap();
    let mut stale = saved.clone();
    stale.tensors.get_mut(norm).unwrap().2.fill(0);
    fs::write(model.join("b.safetensors"), stale.file(&|name| [norm, weight].contains(&name))).unwrap();
    // one in another dtype is replaced, one of another shape stays
    let (dtype, _, bytes) = stale.tensors.get_mut(weight).unwrap();
    (*dtype, *bytes) = (Dtype::BF16, bytes.as_chunks::<4>().0.iter().flat_map(|value| [value[2], value[3]]).collect());
    stale.tensors.get_mut(norm).unwrap().1.push(1);
    fs::write(model.join("c.safetensors"), stale.file(&|name| [norm, weight, HEAD].contains(&name))).unwrap();
    let map: BTreeMap<&String, &str> = saved
        .tensors
        .keys()
        .map(|name| {
            (
                name,
                if name == weight {
                    "b.safetensors"
                } else if name == HEAD {
                    "c.safetensors"
                } else {
                    "a.safetensors"
                },
            )
        })
        .collect();
    let index = json!({"weight_map": map}).to_string();
    fs::write(model.join("model.safetensors.index.json"), format!("\u{feff}{index}")).unwrap();
    let decoder = open(&model).unwrap();
    assert_eq!(score(&decoder), expected);
    let out = dir.path().join("out");
    prune(&tiny.plan(), &decoder, &out, &mut Silent).unwrap();
    let read = |file: &str, name: &str| {
        let bytes = fs::read(out.join(file)).unwrap();
        SafeTensors::deserialize(&bytes).unwrap().tensor(name).unwrap().data().to_vec()
    };
    assert_eq!(read("a.safetensors", weight), read("b.safetensors", weight));
    assert_ne!(read("a.safetensors", weight), saved.tensors[weight].2);
    let whole = read("a.safetensors", weight);
    let halves = whole
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|value| half::bf16::from_f32(f32::from_le_bytes(*value)).to_le_bytes());
    assert_eq!(read("c.safetensors", weight), halves.collect::<Vec<_>>());
    assert_eq!(read("c.safetensors", norm), stale.tensors[norm].2);
    assert_eq!(
        (read("a.safetensors", norm), read("b.safetensors", norm)),
        (saved.tensors[norm].2.clone(), stale.tensors[norm].2.clone())
    );
}

#[test]
fn weights_in_double_precision_stay_so() {
    let (tiny, mut saved) = saved(false);
    let expected = score(&tiny.open("model"));
    for (dtype, _, bytes) in saved.tensors.values_mut() {
        let values = bytes.as_chunks::<4>().0.iter().map(|value| f64::from(f32::from_le_bytes(*value)).to_le_bytes());
        (*dtype, *bytes) = (Dtype::F64, values.collect::<Vec<_>>().concat());
    }
    assert!(holds(&saved, &expected, &tiny).is_empty());
    let dir = TempDir::new().unwrap();
    saved.write(dir.path());
    let plan = tiny.plan();
    let report = prune(&plan, &open(dir.path()).unwrap(), &dir.path().with_extension("out"), &mut Silent).unwrap();
    let single = tiny.prune(&plan, "out");
    assert_eq!(report.model.zeros, single.model.zeros);
    fs::remove_dir_all(dir.path().with_extension("out")).unwrap();
    saved.tensors.get_mut("model.norm.weight").unwrap().2[..8].copy_from_slice(&1e300_f64.to_le_bytes());
    saved.write(dir.path());
    let error = open(dir.path()).unwrap().check_finite().unwrap_err().to_string();
    assert!(error.contains("holds a NaN or an infinity at [0]"), "{error}");
}

#[test]
fn what_is_no_model_is_named() {
    let (_, saved) = saved(false);
    let with = |key: &str, value: Value| {
        let mut saved = saved.clone();
        saved.config[key] = value;
        saved
    };
    let check = |saved: &Saved, problem: &str, hint: &str| {
        let (error, tip) = refused(saved);
        assert!(error.contains(problem) && tip.contains(hint), "{error}\n{tip}");
    };
    let q = "model.layers.0.self_attn.q_proj.weight";
    let packed = |name: &str| saved.clone().renamed(|own| if own == q { name.to_owned() } else { own.to_owned() });
    check(
        &packed("model.layers.0.self_attn.q_proj.qweight"),
        "the checkpoint is quantised (there is",
        "take the one that it was made from",
    );
    check(
        &packed("model.layers.0.self_attn.q_proj.base_layer.weight"),
        "an adapter that is not merged",
        "merge_and_unload",
    );
    let mut four_bits = packed("model.layers.0.self_attn.q_proj_blocks");
    four_bits.config["quantization_config"] = json!({"quant_method": "mxfp4"});
    check(&four_bits, "the checkpoint is quantised (mxfp4)", "Mxfp4Config(dequantize=True)");
    check(&packed("_fsdp_wrapped_module.flat_param"), "parameters of FSDP", "FULL_STATE_DICT");
    check(&packed("elsewhere"), "the files have other tensors", "check that the files are whole");
    check(
        &packed("model.layers.1.x.layers.0.self_attn.q_proj.weight"),
        "and 29 of the 30 tensors under the names of the family",
        "whole",
    );
    let mut quantised = with("quantization_config", json!({"quant_method": "fp8"}));
    let (dtype, _, bytes) = quantised.tensors.get_mut(q).unwrap();
    (*dtype, *bytes) = (Dtype::F8_E4M3, bytes.iter().step_by(4).copied().collect());
    check(
        &quantised,
        "has dtype F8_E4M3, and weights are F64, F32, F16 or BF16: the checkpoint is quantised (fp8)",
        "take the one",
    );
    let classifier = with("architectures", json!(["LlamaForSequenceClassification"]))
        .renamed(|name| if name == HEAD { "score.weight".into() } else { name.into() });
    check(
        &classifier,
        "a LlamaForSequenceClassification has no head of a language model",
        "the language model that it was trained from",
    );
    let rows = saved.config["vocab_size"].as_u64().unwrap();
    check(
        &with("vocab_size", json!(rows - 1)),
        &format!("config.json says [{}, ", rows - 1),
        &format!("set \"vocab_size\" to {rows}"),
    );
}

#[test]
fn a_classifier_with_a_tied_head_is_pruned_with_a_note() {
    let (tiny, mut saved) = saved(true);
    saved.config["architectures"] = json!(["LlamaForSequenceClassification"]);
    let expected = score(&tiny.open("model"));
    let notes = holds(&saved, &expected, &tiny);
    assert!(notes[0].starts_with("the model is a LlamaForSequenceClassification: its own head is kept"), "{notes:?}");
}

#[test]
fn a_directory_without_a_model_says_what_it_is() {
    let dir = TempDir::new().unwrap();
    let refused = |files: &[(&str, &str)]| {
        let dir = TempDir::new_in(dir.path()).unwrap();
        for (name, contents) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        let error = Checkpoint::open(dir.path()).unwrap_err();
        (error.to_string(), error.hint().unwrap().to_owned())
    };
    let adapter = ("adapter_config.json", "{\"base_model_name_or_path\": \"some/model\", \"peft_type\": \"LORA\"}");
    let cases = [
        (
            vec![adapter, ("adapter_model.safetensors", "")],
            "an adapter (LORA) for some/model, not a model",
            "merge_and_unload()",
        ),
        (vec![("adapter_config.json", "{")], "an adapter for its model", "merge_and_unload()"),
        (
            vec![("snapshots/0a/config.json", "{}"), ("refs/main", "0a")],
            "the folder of a model in the Hub's cache",
            "snapshots/0a",
        ),
        (
            vec![("consolidated.safetensors", "")],
            "weights in the form of Mistral's own tools",
            "fetch the files for transformers",
        ),
        (vec![("model_index.json", "{}")], "the index of a pipeline of diffusers", "the folder of its language model"),
        (vec![("a.safetensors", "")], "only safetensors of other names (a.safetensors)", "name it model.safetensors"),
        (
            vec![("a.safetensors", ""), ("b.safetensors", "")],
            "only safetensors of other names",
            "says what is in each of the 2 files",
        ),
        (vec![("pytorch_model.bin", "")], "only PyTorch weights", "safe_serialization=True"),
        (vec![("config.json", "{}")], "neither model.safetensors nor", "give the directory that a model was saved to"),
    ];
    for (files, problem, hint) in cases {
        let (error, tip) = refused(&files);
        assert!(error.contains(problem) && tip.contains(hint), "{error}\n{tip}");
    }
}

#[test]
fn all_that_lies_beside_the_weights_is_copied_or_named() {
    let tiny = Tiny::new("llama");
    let model = tiny.path("model");
    let write = |name: &str| {
        fs::create_dir_all(model.join(name).parent().unwrap()).unwrap();
        fs::write(model.join(name), name).unwrap();
    };
    let copied = ["additional_chat_templates/tool_use.jinja", "1_Pooling/config.json", "a/b/c/d.txt"];
    let left = [".env", "consolidated.safetensors", "onnx/model.onnx"];
    copied.into_iter().chain(left).chain([".gitattributes", ".cache/x"]).for_each(write);
    let decoder = tiny.open("model");
    assert_eq!(left_out(decoder.checkpoint()).unwrap(), left.map(std::path::PathBuf::from));
    let report = prune(&tiny.plan(), &decoder, &tiny.path("out"), &mut Silent).unwrap();
    for name in copied {
        assert_eq!(fs::read_to_string(tiny.path("out").join(name)).unwrap(), name);
    }
    assert!(left.iter().all(|name| !tiny.path("out").join(name).exists()));
    let warned =
        report.warnings.iter().any(|warning| warning.ends_with(": .env, consolidated.safetensors, onnx/model.onnx"));
    assert!(warned, "{:?}", report.warnings);
}

#[test]
fn a_token_that_no_text_has_does_no_harm() {
    let (tiny, mut saved) = saved(false);
    let vocabulary = saved.config["vocab_size"].as_u64().unwrap();
    saved.tokenizer["model"]["vocab"]["[PAD]"] = vocabulary.into();
    saved.write(&tiny.path("model"));
    let mut plan = tiny.plan();
    tiny.prune(&plan, "out");
    fs::write(tiny.path("padded.txt"), "[PAD] w1 w2").unwrap();
    saved.tokenizer["pre_tokenizer"] = json!({"type": "WhitespaceSplit"});
    saved.write(&tiny.path("model"));
    plan.evaluation.texts = vec![tiny.path("padded.txt")];
    let error = tiny.try_prune(&plan, "more").unwrap_err().to_string();
    assert!(
        error.contains(&format!("the token {vocabulary} (\"[PAD]\"), and the model knows only {vocabulary} tokens")),
        "{error}"
    );
}

#[test]
fn weights_that_the_file_cannot_hold_end_no_run() {
    let (tiny, mut saved) = saved(false);
    let half = |value: f32| half::f16::from_f32(value).to_le_bytes();
    for (name, (dtype, _, bytes)) in &mut saved.tensors {
        // so large that any growth of a weight leaves the range
        let scale = if name.ends_with("up_proj.weight") { 60_000.0 } else { 1.0 };
        let value = |value: &[u8; 4]| f32::from_le_bytes(*value);
        let largest = bytes.as_chunks::<4>().0.iter().map(|bytes| value(bytes).abs()).fold(0.0, f32::max);
        let factor = if scale > 1.0 { scale / largest } else { 1.0 };
        let halves: Vec<u8> = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .flat_map(|bytes| {
                let scaled = value(bytes) * factor;
                half(if scale > 1.0 { scale.copysign(scaled) } else { scaled })
            })
            .collect();
        (*dtype, *bytes) = (Dtype::F16, halves);
    }
    saved.write(&tiny.path("model"));
    let mut plan = tiny.plan();
    plan.pruning.damping = Some(0.01);
    plan.reconstruction.granularity = lopper::plan::Granularity::Submodule;
    plan.reconstruction.learning_rate = 0.5;
    let mut warnings = Vec::new();
    let mut observer = |event: Event| {
        if let Event::Warning(warning) = event {
            warnings.push(warning.to_owned());
        }
    };
    let report = prune(&plan, &tiny.open("model"), &tiny.path("out"), &mut observer).unwrap();
    let undone = report.matrices.iter().filter(|matrix| {
        matrix.solution.warning.as_ref().is_some_and(|warning| warning.contains("beyond the range of F16: only pruned"))
    });
    let undone: Vec<_> = undone.collect();
    assert!(
        !undone.is_empty()
            && undone.iter().all(|matrix| matrix.role == "up" && matrix.solution.error_compensated.is_none())
    );
    assert!(warnings.iter().any(|warning| warning.contains("only pruned")));
}
