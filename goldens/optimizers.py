"""fixtures/window/optimizers.safetensors: three steps of Adafactor and of momentum on a matrix [12, 20].

    adafactor  torch.optim.Adafactor on all entries: eps (1e-30, 1e-3), d 1, learning rate 1e-2, no decay. `rate.{i}` is the rate it made
               of that, relative to the root mean square of the matrix
    sgd        v = 0.9 v + 0.1 g / rms(g), w = w - 1e-2 v on a mask; rms over what is kept
Holds start, mask (u8), grads [3, 12, 20], and <name>.{0,1,2} after each step. `start` is zero where the mask is for `sgd` only.
"""

import torch

from fixtures import FIXTURES, generator, save_tensors


def adafactor(start: torch.Tensor, grads: torch.Tensor) -> dict[str, torch.Tensor]:
    weight = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.Adafactor([weight], lr=1e-2, eps=(1e-30, 1e-3), weight_decay=0.0)
    results = {}
    for step, grad in enumerate(grads):
        results[f"rate.{step}"] = (1e-2 * weight.detach().square().mean().sqrt()).reshape(1)
        weight.grad = grad.clone()
        optimizer.step()
        results[f"adafactor.{step}"] = weight.detach().clone()
    return results


def sgd(start: torch.Tensor, mask: torch.Tensor, grads: torch.Tensor) -> dict[str, torch.Tensor]:
    weight, velocity, results = start * mask, torch.zeros_like(start), {}
    for step, grad in enumerate(grads):
        grad = grad * mask
        velocity = 0.9 * velocity + 0.1 * grad / (grad.square().sum() / mask.sum()).sqrt()
        weight = weight - 1e-2 * velocity
        results[f"sgd.{step}"] = weight
    return results


def write() -> None:
    source = generator(18)
    shape = (12, 20)
    mask = torch.rand(shape, generator=source) < 0.5
    start = torch.randn(shape, generator=source)
    scale = torch.logspace(-3, 0, 12)[:, None] * torch.logspace(-2, 1, 20)
    grads = torch.randn((3, *shape), generator=source) * scale
    inputs = {"start": start, "mask": mask, "grads": grads}
    save_tensors(FIXTURES / "window" / "optimizers.safetensors", inputs | adafactor(start, grads) | sgd(start, mask, grads))


if __name__ == "__main__":
    write()
