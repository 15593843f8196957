"""fixtures/losses.safetensors: losses of training with their gradients, from PyTorch autograd in f32.

    mse_normalized  Σ_t ‖y_t − target_t‖² / mean(target_t²)           input, target [6, 20]
    cosine          Σ_t (1 − cos(y_t, target_t))                       input, target [6, 20]
    distillation    T²·KL(softmax(teacher/T) ‖ softmax(input/T)), T = 2, summed over rows of [10, 33]
The layout is that of elementwise.py. Rows of the targets span three decades.
"""

import torch
from torch import Tensor
from torch.nn import functional

from elementwise import golden
from fixtures import FIXTURES, generator, save_tensors

TEMPERATURE = 2.0


def mse_normalized(input: Tensor, target: Tensor) -> Tensor:
    return ((input - target).square().sum(-1) / target.square().mean(-1)).sum().reshape(1)


def cosine(input: Tensor, target: Tensor) -> Tensor:
    return (1 - functional.cosine_similarity(input, target)).sum().reshape(1)


def distillation(input: Tensor, teacher: Tensor) -> Tensor:
    student, teacher = (functional.log_softmax(x / TEMPERATURE, -1) for x in (input, teacher))
    divergence = functional.kl_div(student, teacher, reduction="sum", log_target=True)
    return (TEMPERATURE**2 * divergence).reshape(1)


def write() -> None:
    source = generator(17)
    scale = torch.logspace(-1, 2, 6)[:, None]
    target = scale * torch.randn((6, 20), generator=source)
    close = target + scale * torch.randn((6, 20), generator=source) / 3
    logits, teacher = 4 * torch.randn((2, 10, 33), generator=source)
    one = torch.tensor([0.75])
    results = {
        "mse_normalized": golden(mse_normalized, {"input": close}, {"target": target}, one),
        "cosine": golden(cosine, {"input": close}, {"target": target}, one),
        "distillation": golden(distillation, {"input": logits}, {"teacher": teacher}, one),
    }
    tensors = {f"{loss}.{name}": tensor for loss, stored in results.items() for name, tensor in stored.items()}
    save_tensors(FIXTURES / "losses.safetensors", tensors)


if __name__ == "__main__":
    write()
