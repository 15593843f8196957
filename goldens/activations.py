"""fixtures/activations.safetensors: fused operations of OPT, GPT-NeoX and Qwen3, from PyTorch autograd in f32.

The layout is that of elementwise.py: inputs, `output`, `grad_output` and `grad.<input>`.
    layer_norm      x [10, 26], weight, bias [26], eps 1e-5; each row has a mean of its own
    rms_norm_heads  x [10, 24], weight [8], eps 1e-5; each of the 3 heads of 8 numbers is normed by itself
    relu            input [8, 26]
    gelu            x/2 · (1 + erf(x/√2)), the same input and upstream gradient
    gelu_tanh       x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³))), the same input and upstream gradient
    relu_edges, gelu_edges, gelu_tanh_edges
                    input [13]: zero, tiny and large values; by themselves, because 100 would hide the error at 1
ReLU has gradient 0 at 0. At -5.5 the output of either GELU is less than its rounding, which is about 3e-7.
"""

import torch
from torch import Tensor
from torch.nn import functional

from elementwise import golden, rms_norm
from fixtures import FIXTURES, generator, save_tensors

HEADS, HEAD_DIM = 3, 8
EDGES = torch.tensor([0.0, 1e-20, -1e-20, 1e-4, -1e-4, 5.5, -5.5, 10.0, -10.0, 30.0, -30.0, 100.0, -100.0])


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], weight, bias, eps=1e-5)


def rms_norm_heads(x: Tensor, weight: Tensor) -> Tensor:
    """x [tokens, heads · head_dim]; the heads share one weight [head_dim]."""
    return rms_norm(x.unflatten(-1, (HEADS, HEAD_DIM)), weight).flatten(-2)


def goldens() -> dict[str, dict[str, Tensor]]:
    source = generator(41)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=source)

    centres = 5 * random(10, 1)
    layer = {"x": centres + 2 * random(10, 26), "weight": 1 + random(26) / 4, "bias": random(26) / 2}
    heads = {"x": 2 * random(10, HEADS * HEAD_DIM), "weight": 1 + random(HEAD_DIM) / 4}
    points = {"": (2 * random(8, 26), random(8, 26)), "_edges": (EDGES, random(len(EDGES)))}
    activations = {
        "relu": functional.relu,
        "gelu": functional.gelu,
        "gelu_tanh": lambda input: functional.gelu(input, approximate="tanh"),
    }
    return {
        "layer_norm": golden(layer_norm, layer, {}, random(10, 26)),
        "rms_norm_heads": golden(rms_norm_heads, heads, {}, random(10, HEADS * HEAD_DIM)),
    } | {
        name + suffix: golden(operation, {"input": inputs}, {}, upstream)
        for name, operation in activations.items()
        for suffix, (inputs, upstream) in points.items()
    }


def write() -> None:
    tensors = {f"{operation}.{name}": t for operation, stored in goldens().items() for name, t in stored.items()}
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    save_tensors(FIXTURES / "activations.safetensors", tensors)


if __name__ == "__main__":
    write()
