"""Load a pruned checkpoint in transformers and compare its losses with those that `lopper eval --json` printed.

    lopper eval OUT --text TEXT --seqlen 256 --windows 20 --json > eval.json
    python goldens/peer/check_output.py OUT TEXT eval.json

Prints the largest difference of a window's mean negative log-likelihood, and the share of zeros in the linear layers of the blocks.
Exits with 1 when the difference exceeds 1e-4.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer
from transformers.pytorch_utils import Conv1D


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text", type=Path)
    parser.add_argument("evaluation", type=Path)
    args = parser.parse_args()
    reads_text = type(AutoConfig.from_pretrained(args.model)) in AutoModelForCausalLM._model_mapping
    kind = AutoModelForCausalLM if reads_text else AutoModelForImageTextToText
    model = kind.from_pretrained(args.model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    ids = tokenizer(args.text.read_text(), add_special_tokens=False, return_tensors="pt").input_ids[0]
    (score,) = json.loads(args.evaluation.read_text())["texts"]
    assert score["nll"], "no window was scored"
    worst = 0.0
    for window, expected in zip(ids.split(score["seqlen"]), score["nll"]):
        with torch.inference_mode():
            loss = model(window[None], labels=window[None]).loss.item()
        worst = max(worst, abs(loss - expected))
    of_text = ((name, module) for name, module in model.named_modules() if "vision" not in name)
    blocks = (module for name, module in of_text if ".layers." in name or ".h." in name)
    weights = [module.weight for module in blocks if isinstance(module, (torch.nn.Linear, Conv1D))]
    zeros = sum((w == 0).sum().item() for w in weights) / sum(w.numel() for w in weights)
    print(f"{score['windows']} windows, largest difference {worst:.1e} nats; {100 * zeros:.2f} % zeros")
    return int(worst > 1e-4)


if __name__ == "__main__":
    sys.exit(main())
