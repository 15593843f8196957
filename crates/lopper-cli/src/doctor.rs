//! `lopper doctor`: what this machine is, what of it is used, what is slow here and what to do about it.

use std::path::PathBuf;

use lopper::Result;
use lopper::explain::Rate;
use lopper::hub::HubSettings;
use lopper::machine::{Memory, Processor, free_space, visible_gpus};
use lopper::plan::ComputeDtype;
use serde::Serialize;

use crate::args::DoctorArgs;
use crate::render::{output, units};

/// Rows and columns of the matrices that are multiplied to measure: as wide as a small model.
const WIDTH: usize = 1024;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Machine {
    version: &'static str,
    /// Whether this program was built with the checks of tests, which cost time.
    checked: bool,
    processor: Processor,
    /// What `--dtype auto` stands for here.
    dtype: ComputeDtype,
    /// Operations per second of products, measured just now.
    flops_per_second: Rates,
    memory: Memory,
    /// Of the directory for temporary files, and of the cache of models.
    disks: Vec<Disk>,
    gpus: Vec<String>,
    advice: Vec<Advice>,
}

#[derive(Debug, Serialize)]
struct Rates {
    f32: f64,
    bf16: f64,
}

#[derive(Debug, Serialize)]
struct Disk {
    purpose: &'static str,
    path: PathBuf,
    /// Bytes; `null` where the system does not tell.
    free: Option<u64>,
}

/// What is slow or missing, and what to do.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Advice {
    problem: String,
    remedy: String,
}

/// Looks, measures for half a second, and prints.
///
/// # Errors
/// If stdout cannot be written.
pub fn run(args: &DoctorArgs) -> Result<()> {
    let machine = Machine::here()?;
    if args.json { output::json(&machine) } else { output::print(&text(&machine)) }
}

impl Machine {
    fn here() -> Result<Self> {
        let rate = |dtype: ComputeDtype| Rate::of_product([WIDTH; 3], dtype.precision()).flops_per_second;
        let flops_per_second = lopper::prune::in_pool(None, || {
            Ok(Rates { f32: rate(ComputeDtype::F32), bf16: rate(ComputeDtype::Bf16) })
        })?;
        let disk = |(purpose, path): (&'static str, PathBuf)| Disk { free: free_space(&path), purpose, path };
        let mut machine = Self {
            version: env!("CARGO_PKG_VERSION"),
            checked: cfg!(debug_assertions),
            processor: Processor::here(),
            dtype: ComputeDtype::Auto.chosen(),
            flops_per_second,
            memory: Memory::here(),
            disks: [("temporary", std::env::temp_dir()), ("cache", HubSettings::from_environment().cache)]
                .map(disk)
                .into(),
            gpus: visible_gpus(),
            advice: Vec::new(),
        };
        machine.advice = machine.advice();
        Ok(machine)
    }

    fn advice(&self) -> Vec<Advice> {
        let Self { processor, memory, .. } = self;
        let all = [
            (
                self.checked,
                "this lopper was built with the checks of tests, which cost time",
                "build it with --release",
            ),
            (
                processor.kernels == "baseline" && processor.architecture == "x86_64",
                "this processor has no AVX2: kernels run on the narrowest instructions they have",
                "use one with AVX2, or better AVX-512",
            ),
            (
                processor.architecture != "x86_64",
                "kernels have instructions of their own for x86_64 only; here they are what the compiler makes of them",
                "use a processor with AVX-512 for large models",
            ),
            (
                processor.kernels == "AVX2",
                "this processor has no AVX-512, so kernels are half as wide as they could be",
                "use one with AVX-512 for large models",
            ),
            (
                !processor.bf16,
                "this processor does not multiply bf16: with --dtype bf16 it would round to that, and multiply in f32 all the same",
                "leave --dtype at auto; a processor with AVX512-BF16 (Intel Xeon since Sapphire Rapids, AMD since Zen 4) multiplies faster in bf16",
            ),
            (
                processor.threads < processor.logical,
                "not every core may be used: the system, or a container, gives this process less",
                "raise the limit (docker --cpus, cpuset, taskset), or go on with what there is",
            ),
            (
                memory.limit.is_some(),
                "a control group limits memory to less than the machine has",
                "raise the limit (docker --memory), or let activations wait on the disk: lopper explain MODEL says how much it takes",
            ),
            (
                !self.gpus.is_empty(),
                "there is a GPU, and this version of lopper uses none",
                "nothing: everything is computed on the processor",
            ),
        ];
        let holds = all.into_iter().filter(|(holds, ..)| *holds);
        holds.map(|(_, problem, remedy)| Advice { problem: problem.into(), remedy: remedy.into() }).collect()
    }
}

fn text(machine: &Machine) -> String {
    let Machine { processor, dtype, flops_per_second: rates, memory, .. } = machine;
    let name = if processor.name.is_empty() { "unknown" } else { &processor.name };
    let cores = processor.cores.map_or_else(|| "unknown".into(), units::count);
    let rate = |rate: f64| format!("{}/s", units::flops(rate));
    let bf16 = if processor.bf16 {
        "multiplied by instructions of their own"
    } else {
        "not multiplied by instructions of their own"
    };
    let mut lines = vec![
        ("lopper", machine.version.to_owned()),
        ("processor", format!("{name} ({})", processor.architecture)),
        (
            "cores",
            format!(
                "{cores}; {} threads, {} of them used",
                units::count(processor.logical),
                units::count(processor.threads)
            ),
        ),
        ("kernels", processor.kernels.to_owned()),
        ("bf16", bf16.to_owned()),
        ("dtype", format!("auto is {} here", dtype.name())),
        ("products", format!("{} in f32, {} in bf16 (measured just now)", rate(rates.f32), rate(rates.bf16))),
        ("memory", self::memory(memory)),
    ];
    lines.extend(machine.disks.iter().map(|disk| {
        let free = disk.free.map_or_else(|| "free space unknown".into(), |free| format!("{} free", units::bytes(free)));
        (disk.purpose, format!("{free}, {}", disk.path.display()))
    }));
    lines.extend(machine.gpus.iter().map(|gpu| ("GPU", format!("{gpu}, not used by this version"))));
    let facts: String = lines.iter().map(|(what, value)| format!("{what:<11}{value}\n")).collect();
    let advice: String =
        machine.advice.iter().map(|Advice { problem, remedy }| format!("\n  {problem}\n    {remedy}\n")).collect();
    if advice.is_empty() { facts } else { format!("{facts}\nWorth knowing\n{advice}") }
}

fn memory(Memory { available, total, limit }: &Memory) -> String {
    let parts = [(available, "available"), (total, "in all"), (limit, "by the limit of the control group")];
    let known = parts.iter().filter_map(|(bytes, what)| bytes.map(|bytes| format!("{} {what}", units::bytes(bytes))));
    let known = known.collect::<Vec<_>>().join(", ");
    if known.is_empty() { "unknown".into() } else { known }
}

#[cfg(test)]
mod tests {
    use super::{Machine, text};

    fn machine() -> Machine {
        let mut machine = Machine::here().expect("a machine");
        (machine.checked, machine.gpus) = (false, Vec::new());
        (machine.processor.kernels, machine.processor.architecture, machine.processor.bf16) =
            ("AVX-512", "x86_64", true);
        machine.processor.threads = machine.processor.logical;
        machine.memory.limit = None;
        machine
    }

    /// What a machine lacks.
    type Change = fn(&mut Machine);

    #[test]
    fn advice_is_given_where_something_is_slow_or_missing() {
        let best = machine();
        assert_eq!(best.advice(), []);
        let changes: [(Change, &str); 7] = [
            (|machine| machine.checked = true, "--release"),
            (|machine| machine.processor.kernels = "AVX2", "no AVX-512"),
            (|machine| machine.processor.kernels = "baseline", "no AVX2"),
            (|machine| machine.processor.bf16 = false, "leave --dtype at auto"),
            (|machine| machine.processor.logical = machine.processor.threads + 1, "not every core"),
            (|machine| machine.memory.limit = Some(1), "a control group"),
            (|machine| machine.gpus = vec!["NVIDIA A100".into()], "this version of lopper uses none"),
        ];
        for (change, said) in changes {
            let mut machine = machine();
            change(&mut machine);
            machine.advice = machine.advice();
            assert_eq!(machine.advice.len(), 1, "{said}");
            assert!(text(&machine).contains(said), "{}", text(&machine));
        }
    }
}
