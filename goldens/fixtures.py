"""Where goldens are written and how: safetensors for tensors, JSON for scalars.

Types in the files: f32 (f64 where a solve is exact), masks as u8 (1 = kept), ids as u32.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

FIXTURES = Path(__file__).resolve().parent.parent / "crates" / "lopper" / "tests" / "fixtures"
STORED_AS = {torch.bool: np.uint8, torch.int64: np.uint32}


def save_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write named tensors; booleans become u8 and integers u32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for name, tensor in tensors.items():
        array = tensor.detach().contiguous().numpy()
        arrays[name] = np.ascontiguousarray(array.astype(STORED_AS.get(tensor.dtype, array.dtype)))
    save_file(arrays, path)


def save_json(path: Path, value: object) -> None:
    """Write JSON with one top-level key a line, so that a change shows in a diff."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"  {json.dumps(key)}: {json.dumps(item, ensure_ascii=False)}" for key, item in value.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def short_floats(tensor: torch.Tensor) -> list:
    """An f32 tensor as nested lists with the fewest digits that read back to the same f32."""
    assert tensor.dtype == torch.float32
    if tensor.ndim == 0:
        return float(str(tensor.numpy()[()]))
    return [short_floats(item) for item in tensor]


def generator(seed: int) -> torch.Generator:
    """The source of randomness of one golden: its own, so that goldens do not depend on each other."""
    return torch.Generator().manual_seed(seed)
