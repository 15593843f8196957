"""fixtures/real_models.json: token ids, logits and perplexity of two real models that are too big to commit.

    python goldens/real_models.py --smollm2 DIR --stories260k DIR --wikitext2 FILE

For each model: the ids of a sentence, and for a prompt of 64 tokens the logits at its last 2 positions for 16 fixed
vocabulary ids with the logsumexp over the whole vocabulary. For SmolLM2 also the perplexity of WikiText-2 (raw test split)
over the first 20 windows of 2048 tokens: the text tokenised once, no BOS, windows that do not overlap, negative
log-likelihood averaged over the 2047 predictions of a window, perplexity = exp(mean over windows).
"""

import argparse
import json
import math
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, PreTrainedModel

from fixtures import FIXTURES, save_json, short_floats

SENTENCE = "The gardener cut the old rose back to 3 buds, and it flowered again in June."
PROMPT = (
    "Once upon a time there was a small boat that wanted to see the sea. Every morning it pulled at its rope and "
    "asked the river where the water went. The river only laughed and ran on. One night the rope grew tired, and "
    "the little boat went down past the mill, past the bridge and past the sleeping town until it saw a light."
)
PROMPT_TOKENS = 64
WINDOWS, WINDOW = 20, 2048


def add_arguments(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument("--smollm2", type=Path, required=required, help="folder of SmolLM2-135M-Instruct")
    parser.add_argument("--stories260k", type=Path, required=required, help="folder of stories260k")
    parser.add_argument("--wikitext2", type=Path, required=required, help="wiki.test.raw")


def load(folder: Path) -> tuple[PreTrainedModel, Tokenizer]:
    """The model in float32 with eager attention, and the tokenizer as its file describes it."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


def prompt_golden(model: PreTrainedModel, tokenizer: Tokenizer) -> dict:
    """Ids and logits of the fixed texts."""
    ids = tokenizer.encode(PROMPT, add_special_tokens=False).ids[:PROMPT_TOKENS]
    assert len(ids) == PROMPT_TOKENS
    vocabulary = model.config.vocab_size
    watched = [index * (vocabulary - 1) // 15 for index in range(16)]
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -2:]
    return {
        "sentence": SENTENCE,
        "sentence_ids": tokenizer.encode(SENTENCE, add_special_tokens=False).ids,
        "sentence_ids_with_special_tokens": tokenizer.encode(SENTENCE).ids,
        "prompt_ids": ids,
        "vocabulary_ids": watched,
        "logits": short_floats(logits[:, watched]),
        "logsumexp": short_floats(logits.logsumexp(-1)),
        "argmax": logits.argmax(-1).tolist(),
    }


def wikitext(path: Path) -> str:
    """The rows of the data set joined as usual: a row is a line with its newline, or nothing where the line is blank."""
    rows = [line + "\n" if line.strip() else "" for line in path.read_text().split("\n")[:-1]]
    return "\n\n".join(rows)


def perplexity(model: PreTrainedModel, ids: list[int]) -> dict:
    """Mean negative log-likelihood of each window, f64 mean over windows."""
    losses = []
    for window in torch.tensor(ids[: WINDOWS * WINDOW]).reshape(WINDOWS, WINDOW):
        logits: Tensor = model(input_ids=window[None], use_cache=False).logits[0, :-1]
        losses.append(functional.cross_entropy(logits, window[1:]).item())
    return {
        "tokens": len(ids), "first_ids": ids[:8], "last_ids": ids[-8:],
        "window": WINDOW, "window_nll": losses, "perplexity": math.exp(sum(losses) / WINDOWS),
    }


@torch.inference_mode()
def write(arguments: argparse.Namespace) -> None:
    result = {}
    for name in ("smollm2", "stories260k"):
        model, tokenizer = load(getattr(arguments, name))
        result[name] = prompt_golden(model, tokenizer)
        if name == "smollm2":
            model.set_attn_implementation("sdpa")  # eager would hold 9 matrices of 2048 x 2048 for each block
            ids = tokenizer.encode(wikitext(arguments.wikitext2), add_special_tokens=False).ids
            result["smollm2_wikitext2"] = perplexity(model, ids)
    save_json(FIXTURES / "real_models.json", result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    command_line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(command_line, required=True)
    torch.set_num_threads(2)
    write(command_line.parse_args())
