"""Time one decoder block in PyTorch eager: forward, and a train step. The block is that of SmolLM2-135M, OPT-125M,
Pythia-160M, BLOOM-560M, Gemma-3-270M (of the latter one that does not slide), OLMoE-1B-7B, Qwen1.5-MoE-A2.7B (of the latter without the
expert that every token goes to), Mamba-130M or Mamba2-130M.

    python goldens/peer/train_step.py --threads 2 [--block opt-125m]

A train step is forward + mean squared error + backward + masking of the gradients + AdamW (fused), with half of the weights
pruned. Prints a JSON line per setting: f32 with the linear layers of stock PyTorch, f32 with those of oneDNN, and bf16 autocast.
The settings take turns in every round, so that a busy machine slows all of them alike.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

from block import Block, Linear, Shape, freeze_pruned, precision, rotary_table
from other_blocks import BloomBlock, ExpertsBlock, GemmaBlock, NeoxBlock, OptBlock, StateSpaceBlock

SMOLLM2 = Shape(hidden=576, heads=9, kv_heads=3, head_dim=64, intermediate=1536, eps=1e-5)
OLMOE = Shape(hidden=2048, heads=16, kv_heads=16, head_dim=128, intermediate=1024, eps=1e-5)
QWEN_MOE = Shape(hidden=2048, heads=16, kv_heads=16, head_dim=128, intermediate=1408, eps=1e-6)
SIZES = dict(hidden=768, heads=12, intermediate=3072)
BLOCKS = {
    "smollm2-135m": (lambda: Block(SMOLLM2), 576, (64, 100000.0)),
    "opt-125m": (lambda: OptBlock(**SIZES), 768, (64, 10000.0)),
    "pythia-160m": (lambda: NeoxBlock(**SIZES), 768, (16, 10000.0)),
    "bloom-560m": (lambda: BloomBlock(hidden=1024, heads=16), 1024, (64, 10000.0)),
    "olmoe-1b-7b": (lambda: ExpertsBlock(OLMOE, experts=64, top_k=8), 2048, (128, 10000.0)),
    "qwen1.5-moe-a2.7b": (lambda: ExpertsBlock(QWEN_MOE, experts=60, top_k=4), 2048, (128, 1000000.0)),
    "mamba-130m": (lambda: StateSpaceBlock("mamba", hidden_size=768), 768, (64, 10000.0)),
    "qwen3.5-0.8b": (
        lambda: StateSpaceBlock(
            "qwen3_5_text", hidden_size=1024, intermediate_size=3584, linear_num_value_heads=16, layer_types=["linear_attention"],
        ), 1024, (64, 10000.0),
    ),
    "mamba2-130m": (
        lambda: StateSpaceBlock("mamba2", hidden_size=768, num_heads=24, head_dim=64, n_groups=1), 768, (64, 10000.0),
    ),
    "gemma-3-270m": (lambda: GemmaBlock(hidden=640, heads=4, head_dim=256, intermediate=2048), 640, (256, 1000000.0)),
}
"""A block, its width, and the width and base of its rotary table, which OPT and BLOOM do not read."""
BATCH = 2
KERNELS = ("f32", "f32 onednn", "bf16")


def masked_block(name: str, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    block = BLOCKS[name][0]()
    for module in block.modules():
        if isinstance(module, Linear):
            freeze_pruned(module, torch.rand_like(module.weight) < 0.5)
    return block


def steps(name: str, length: int) -> dict[str, Callable[[bool], None]]:
    """The two things that are timed, for sequences of this length."""
    block, (_, hidden, (rotated, theta)) = masked_block(name, seed=0), BLOCKS[name]
    optimizer = torch.optim.AdamW(block.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    rotary = rotary_table(length, rotated, theta)
    x, target = torch.randn(2, BATCH, length, hidden).unbind()

    def forward(bf16: bool) -> None:
        with torch.inference_mode(), precision(bf16):
            block(x, rotary)

    def train(bf16: bool) -> None:
        optimizer.zero_grad(set_to_none=True)
        with precision(bf16):
            loss = functional.mse_loss(block(x, rotary), target)
        loss.backward()
        optimizer.step()

    return {"forward": forward, "train": train}


def timed(step: Callable[[bool], None], kernels: str) -> float:
    """Milliseconds of one call."""
    Linear.onednn = kernels == "f32 onednn"
    start = time.perf_counter()
    step(kernels == "bf16")
    return 1e3 * (time.perf_counter() - start)


def measure(name: str, length: int, kernels_of_all: list[str], warm_up: int, repeats: int) -> Iterator[dict]:
    times: dict[tuple[str, str], list[float]] = {}
    for what, step in steps(name, length).items():
        for _ in range(warm_up + repeats):
            for kernels in kernels_of_all:
                times.setdefault((what, kernels), []).append(timed(step, kernels))
    for (what, kernels), all_times in times.items():
        kept = all_times[warm_up:]
        yield {
            "what": what, "precision": kernels, "batch": BATCH, "length": length,
            "median_ms": round(statistics.median(kept), 2), "min_ms": round(min(kept), 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--block", choices=BLOCKS, default="smollm2-135m")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--kernels", choices=KERNELS, nargs="+", default=KERNELS)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--warm-up", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for length in arguments.lengths:
        for line in measure(arguments.block, length, arguments.kernels, arguments.warm_up, arguments.repeats):
            print(json.dumps(line), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"torch": torch.__version__, "threads": arguments.threads, "peak_rss_mb": peak}))


if __name__ == "__main__":
    main()
