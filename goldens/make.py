"""Regenerate every golden: `python goldens/make.py` (the real models need arguments, see README.md)."""

import argparse

import torch
from transformers.utils import logging

import activations
import adamw
import bloom
import chat
import compensation
import config_keys
import criteria
import delta_net
import elementwise
import experts
import gemma
import gemma4
import gpt2
import gpt_neox
import gptj
import hybrids
import layer_problem
import llama
import llama_like
import losses
import mamba
import mistral
import more_experts
import opt
import optimizers
import qwen2
import qwen3
import real_models
import rotary
import side_by_side
import sparsegpt
import text_part
import window

GOLDENS = (
    llama, mistral, qwen2, qwen3, gemma, gemma4, llama_like, experts, more_experts, mamba, hybrids, delta_net, side_by_side, text_part, opt, gpt_neox, bloom, gpt2, gptj, window, adamw, optimizers, layer_problem,
    criteria, sparsegpt, compensation, rotary, elementwise, activations, losses, chat, config_keys,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    real_models.add_arguments(parser, required=False)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the same bytes on every run
    logging.disable_progress_bar()
    for golden in GOLDENS:
        print(golden.__doc__.splitlines()[0])
        golden.write()
    if all((arguments.smollm2, arguments.stories260k, arguments.wikitext2)):
        print(real_models.__doc__.splitlines()[0])
        real_models.write(arguments)
    else:
        print("fixtures/real_models.json: left as it is (give --smollm2, --stories260k and --wikitext2)")


if __name__ == "__main__":
    main()
