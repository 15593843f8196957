"""Prune a Llama-type model and repair it, in plain PyTorch on a CPU: the whole run that ours is compared with.

    python goldens/peer/prune_reconstruct.py MODEL CALIBRATION_TEXT --pattern 2:4 --joint --bf16 --eval TEST_TEXT --threads 2

Calibration: the first 128 windows of 512 tokens. Block by block, on the hidden states of the dense model: one forward pass gives
the inputs of every linear and the targets of both submodules; Wanda mask; with --joint the kept weights move to the joint optimum;
then attention and MLP (each with its norm and residual) are trained in turn on dense inputs to give the dense outputs: mean
squared error, AdamW (weight decay 0) at 1e-3 with 10 % linear warm-up and linear decay to zero, batch 2, one epoch in
seeded random order, pruned weights held at zero, norms trained. With --inputs pruned every block sees what the pruned blocks
before it give, as in the authors' code of Wanda; without training only. Prints one JSON object: seconds by stage, peak memory, perplexity.
"""

import argparse
import json
import math
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from block import Block, Linear, freeze_pruned, precision, rotary_table
from checkpoint import Model, load, token_ids
from pruning import Statistics, joint, linears, wanda_mask

SAMPLES, LENGTH = 128, 512
FORWARD_BATCH, TRAIN_BATCH = 4, 2
LEARNING_RATE, WARM_UP = 1e-3, 0.1
EVALUATION_LENGTH, HEAD_ROWS = 2048, 512

seconds: dict[str, float] = {}


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the wall time of this piece of work to its stage."""
    start = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


@torch.inference_mode()
def calibrate(
    block: Block, hidden: Tensor, rotary: tuple[Tensor, Tensor], gram: bool
) -> tuple[Statistics, Tensor, Tensor]:
    """Input statistics, and the dense outputs of the attention and of the MLP for all samples, in one pass."""
    statistics = Statistics(gram)
    middle, output = torch.empty_like(hidden), torch.empty_like(hidden)
    for x, m, y in zip(*(tensor.split(FORWARD_BATCH) for tensor in (hidden, middle, output))):
        m.copy_(block.attention(x, rotary, statistics))
        y.copy_(block.mlp(m, statistics))
    return statistics, middle, output


@torch.inference_mode()
def advance(block: Block, hidden: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """The outputs of the block as it is now."""
    with stage("advance"):
        return torch.cat([block(x, rotary) for x in hidden.split(FORWARD_BATCH)])


@torch.no_grad()
def prune(block: Block, statistics: Statistics, pattern: str) -> list[RemovableHandle]:
    """Zero the weights that Wanda names; with Gram matrices, move the others to the joint optimum."""
    held = []
    for linear, name in linears(block):
        with stage("wanda"):
            mask = wanda_mask(linear.weight, statistics.column_norms(name), pattern)
        if statistics.gram:
            with stage("joint"):
                linear.weight.copy_(joint(linear.weight, mask, statistics.sums[name]))
        held.append(freeze_pruned(linear, mask))
    return held


def reconstruct(
    module: nn.Module, forward: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor, bf16: bool
) -> list[float]:
    """Train the kept weights and norms of one submodule for an epoch; the loss of each step."""
    steps = math.ceil(len(inputs) / TRAIN_BATCH)
    warm_up = max(1, round(WARM_UP * steps))
    optimizer = torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, (steps - step) / (steps - warm_up))
    )
    losses = []
    for samples in torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0)).split(TRAIN_BATCH):
        with precision(bf16):
            loss = functional.mse_loss(forward(inputs[samples]), targets[samples])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        rate.step()
        losses.append(loss.item())
    return losses


def run(model: Model, ids: list[int], arguments: argparse.Namespace) -> list[dict]:
    """Prune and repair every block in place; first and last training loss of each submodule."""
    windows = torch.tensor(ids[: SAMPLES * LENGTH]).view(SAMPLES, LENGTH)
    hidden = functional.embedding(windows, model.embedding)  # [samples, T, hidden], of the dense model throughout
    rotary = rotary_table(LENGTH, model.shape.head_dim, model.theta)
    report = []
    for index, block in enumerate(model.blocks[: arguments.blocks]):
        with stage("calibrate"):
            statistics, middle, output = calibrate(block, hidden, rotary, arguments.joint)
        held = prune(block, statistics, arguments.pattern)
        if not arguments.no_reconstruction:
            with stage("reconstruct attention"):
                attention = reconstruct(
                    block.attention, lambda x: block.attention(x, rotary), hidden, middle, arguments.bf16
                )
            with stage("reconstruct mlp"):
                mlp = reconstruct(block.mlp, block.mlp, middle, output, arguments.bf16)
            report.append({"block": index, "attention": [attention[0], attention[-1]], "mlp": [mlp[0], mlp[-1]]})
        block.zero_grad(set_to_none=True)
        for handle in held:
            handle.remove()
        hidden = advance(block, hidden, rotary) if arguments.inputs == "pruned" else output
    return report


@torch.inference_mode()
def perplexity(model: Model, ids: list[int], windows: int) -> float:
    """exp of the mean over windows of the mean negative log-likelihood; windows of 2048 that do not overlap."""
    rotary = rotary_table(EVALUATION_LENGTH, model.shape.head_dim, model.theta)
    losses = []
    for window in torch.tensor(ids[: windows * EVALUATION_LENGTH]).view(windows, EVALUATION_LENGTH):
        x = functional.embedding(window[None], model.embedding)
        for block in model.blocks:
            x = block(x, rotary)
        x = functional.rms_norm(x[0, :-1], model.norm.shape, model.norm, model.shape.eps)
        total = sum(
            functional.cross_entropy(functional.linear(rows, model.head), target, reduction="sum").item()
            for rows, target in zip(x.split(HEAD_ROWS), window[1:].split(HEAD_ROWS))
        )
        losses.append(total / (EVALUATION_LENGTH - 1))
    return math.exp(sum(losses) / len(losses))


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("calibration_text", type=Path)
    parser.add_argument("--pattern", choices=("50", "2:4"), default="50", help="half of each row, or two of each four")
    parser.add_argument("--joint", action="store_true", help="move the kept weights in closed form before training")
    parser.add_argument("--no-reconstruction", action="store_true")
    parser.add_argument("--inputs", choices=("dense", "pruned"), default="dense")
    parser.add_argument("--bf16", action="store_true", help="train under bf16 autocast")
    parser.add_argument("--onednn", action="store_true", help="f32 linear layers and Gram matrices by oneDNN")
    parser.add_argument("--blocks", type=int, help="only the first so many blocks")
    parser.add_argument("--eval", type=Path, metavar="TEST_TEXT")
    parser.add_argument("--eval-windows", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    if arguments.inputs == "pruned" and not arguments.no_reconstruction:
        parser.error("--inputs pruned is without training only: add --no-reconstruction")
    return arguments


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    Linear.onednn = arguments.onednn
    with stage("load"):
        model = load(arguments.model)
    with stage("tokenise"):
        ids = token_ids(arguments.model, arguments.calibration_text)
    losses = run(model, ids, arguments)
    result = {"losses": losses, "peak_rss_mb": peak_mb(), "torch": torch.__version__, "threads": arguments.threads}
    result["total_seconds"] = round(sum(seconds.values()), 2)
    if arguments.eval:
        with stage("evaluate"):
            test = token_ids(arguments.model, arguments.eval)
            result["perplexity"] = perplexity(model, test, arguments.eval_windows)
        result["peak_rss_mb_with_evaluation"] = peak_mb()
    result["seconds"] = {name: round(value, 2) for name, value in seconds.items()}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
