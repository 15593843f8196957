"""fixtures/opt: the OPT family, as OPT-125M. f16, tied, LayerNorm before each branch, ReLU, biases everywhere.

Token t of a sequence has row t + 2 of the learned positions; the table has max_position_embeddings + 2 rows.
config.json leaves out the keys that the published ones lack: enable_bias, layer_norm_elementwise_affine, tie_word_embeddings.
Variants with weights of their own, f32, 2 blocks:
    post_norm  as OPT-350M: norms after each residual sum and none at the end; embeddings (20) narrower than hidden (32)
    bare       no biases, norms without parameters, untied
"""

import torch
from transformers import OPTConfig

from fixtures import FIXTURES
from tiny_checkpoint import LEFT_OUT, write_checkpoint, write_golden, write_variant

FOLDER = FIXTURES / "opt"
PUBLISHED = {
    "dtype": LEFT_OUT, "torch_dtype": "float16",
    "enable_bias": LEFT_OUT, "layer_norm_elementwise_affine": LEFT_OUT, "tie_word_embeddings": LEFT_OUT,
}


def write() -> None:
    config = OPTConfig(
        vocab_size=97, hidden_size=36, ffn_dim=92, num_hidden_layers=3, num_attention_heads=3, max_position_embeddings=29
    )
    write_checkpoint(FOLDER, config, torch.float16, seed=33)
    write_variant(FOLDER, FOLDER, **PUBLISHED)
    sizes = dict(vocab_size=97, hidden_size=32, ffn_dim=76, num_hidden_layers=2, max_position_embeddings=29)
    own_weights = {
        "post_norm": dict(num_attention_heads=4, do_layer_norm_before=False, word_embed_proj_dim=20),
        "bare": dict(
            num_attention_heads=2, enable_bias=False, layer_norm_elementwise_affine=False, tie_word_embeddings=False
        ),
    }
    for seed, (name, changes) in enumerate(own_weights.items(), start=34):
        write_checkpoint(FOLDER / name, OPTConfig(**sizes, **changes), torch.float32, seed=seed)
        write_golden(FOLDER / name)


if __name__ == "__main__":
    write()
