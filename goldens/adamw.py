"""fixtures/window/adamw.safetensors: three steps of torch.optim.AdamW on a masked matrix [12, 20].

    betas 0.9/0.999, eps 1e-8, weight decay 0.01, learning rate 1e-3; `start` is zero where the mask is.
Holds start, mask (u8), grads [3, 12, 20] as they arrive (not yet masked: the step masks them), and result.{0,1,2}
after each step. Gradients span nine decades, so a misplaced eps or bias correction shows.
"""

import torch

from fixtures import FIXTURES, generator, save_tensors


def write() -> None:
    source = generator(6)
    shape = (12, 20)
    mask = torch.rand(shape, generator=source) < 0.5
    start = torch.randn(shape, generator=source) * mask
    scale = 10.0 ** torch.randint(-8, 2, shape, generator=source).float()
    grads = torch.randn((3, *shape), generator=source) * scale
    weight = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW([weight], lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    results = {}
    for step, grad in enumerate(grads):
        weight.grad = grad * mask
        optimizer.step()
        results[f"result.{step}"] = weight.detach().clone()
    assert (weight[~mask] == 0).all()
    save_tensors(FIXTURES / "window" / "adamw.safetensors", {"start": start, "mask": mask, "grads": grads} | results)


if __name__ == "__main__":
    write()
