"""fixtures/elementwise.safetensors: fused operations, forward and backward, from PyTorch autograd in f32.

Every operation stores its inputs, `output`, the upstream gradient `grad_output`, and `grad.<input>`:
    rms_norm          x [10, 24], weight [24], eps 1e-5
    rotary            x [16, 3, 8] (tokens of sequences of 9 and 7, heads, head_dim), cos, sin [16, 4]
    attention         q [tokens, 4, 8], k and v [tokens, 2, 8], causal, scale 1/√8, sequences of `lengths`
    attention_window  the same inputs and upstream gradient; a token sees itself and the 12 before it
    gated_silu        gate, up [8, 24], with gates far into both tails
    cross_entropy     logits [10, 33], targets u32 [10]; mean over rows, [1]
    mse               prediction, target [6, 20]; mean over elements, [1]
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from fixtures import FIXTURES, generator, save_tensors

SEQUENCES = (150, 1, 37)
WINDOW = 13


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], weight, eps=1e-5)


def rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (i, i + head_dim/2) of each head; x [tokens, heads, head_dim]."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def attention(q: Tensor, k: Tensor, v: Tensor, window: int | None = None) -> Tensor:
    """Each sequence by itself; key head h serves query heads 2h and 2h + 1."""
    outputs = []
    for query, key, value in zip(q.split(SEQUENCES), k.split(SEQUENCES), v.split(SEQUENCES)):
        length = query.shape[0]
        distance = torch.arange(length)[:, None] - torch.arange(length)[None]
        seen = (distance >= 0) & (distance < (window or length))
        group = query.shape[1] // key.shape[1]
        key, value = (tensor.repeat_interleave(group, dim=1) for tensor in (key, value))
        scores = torch.einsum("ihd,jhd->hij", query, key) / query.shape[-1] ** 0.5
        probabilities = scores.masked_fill(~seen, float("-inf")).softmax(-1)
        outputs.append(torch.einsum("hij,jhd->ihd", probabilities, value))
    return torch.cat(outputs)


def golden(
    operation: Callable[..., Tensor], inputs: dict[str, Tensor], constants: dict[str, Tensor], upstream: Tensor
) -> dict[str, Tensor]:
    """Run forward and backward; gradients for `inputs`, none for `constants`."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    output = operation(**leaves, **constants)
    output.backward(upstream.reshape(output.shape))
    gradients = {f"grad.{name}": leaf.grad for name, leaf in leaves.items()}
    stored = {"output": output.reshape(upstream.shape), "grad_output": upstream}
    return inputs | constants | stored | gradients


def attention_goldens(random: Callable[..., Tensor]) -> dict[str, dict[str, Tensor]]:
    tokens = sum(SEQUENCES)
    inputs = {"q": 1.5 * random(tokens, 4, 8), "k": 1.5 * random(tokens, 2, 8), "v": random(tokens, 2, 8)}
    upstream = random(tokens, 4, 8)
    full = golden(attention, inputs, {}, upstream)
    sliding = golden(lambda **qkv: attention(**qkv, window=WINDOW), inputs, {}, upstream)
    lengths = {"lengths": torch.tensor(SEQUENCES)}
    shared = (*inputs, "grad_output")
    return {
        "attention": full | lengths,
        "attention_window": {name: tensor for name, tensor in sliding.items() if name not in shared},
    }


def goldens() -> dict[str, dict[str, Tensor]]:
    source = generator(8)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=source)

    angles = torch.cat((torch.arange(9), torch.arange(7)))[:, None] * 100.0 ** -(torch.arange(4) / 4)
    turns = {"cos": angles.cos(), "sin": angles.sin()}
    gates = 3 * random(8, 24)
    gates[0, :6] = torch.tensor([-100.0, -30.0, -1e-4, 0.0, 30.0, 100.0])
    targets = {"target": torch.randint(33, (10,), generator=source)}
    one = torch.tensor([0.75])
    results = {
        "rms_norm": golden(rms_norm, {"x": 2 * random(10, 24), "weight": 1 + random(24) / 4}, {}, random(10, 24)),
        "rotary": golden(rotary, {"x": random(16, 3, 8)}, turns, random(16, 3, 8)),
        "gated_silu": golden(
            lambda gate, up: functional.silu(gate) * up, {"gate": gates, "up": random(8, 24)}, {}, random(8, 24)
        ),
        "cross_entropy": golden(functional.cross_entropy, {"input": 4 * random(10, 33)}, targets, one),
        "mse": golden(functional.mse_loss, {"input": random(6, 20)}, {"target": random(6, 20)}, one),
    }
    return results | attention_goldens(random)


def write() -> None:
    tensors = {f"{operation}.{name}": t for operation, stored in goldens().items() for name, t in stored.items()}
    save_tensors(FIXTURES / "elementwise.safetensors", tensors)


if __name__ == "__main__":
    write()
