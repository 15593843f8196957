"""fixtures/bloom: the BLOOM family. bf16, tied, six heads (no power of two), two shards with an index.

`query_key_value` [3 · hidden, hidden] holds for each head its query, key and value rows. Its variant:
    untied      `tie_word_embeddings: false`, four heads, f32, the keys of the published config.json (own weights)
"""

import torch
from transformers import BloomConfig

from fixtures import FIXTURES
from tiny_checkpoint import LEFT_OUT, write_checkpoint, write_golden, write_variant

FOLDER = FIXTURES / "bloom"


def write() -> None:
    config = BloomConfig(vocab_size=97, hidden_size=48, n_layer=3, n_head=6, layer_norm_epsilon=1e-3)
    write_checkpoint(FOLDER, config, torch.bfloat16, seed=45, max_shard_size="75KB")
    write_variant(FOLDER, FOLDER)
    untied = FOLDER / "untied"
    config = BloomConfig(vocab_size=97, hidden_size=48, n_layer=2, n_head=4, tie_word_embeddings=False)
    write_checkpoint(untied, config, torch.float32, seed=46)
    published = {"n_embed": 48, "hidden_size": LEFT_OUT, "num_attention_heads": 4, "n_head": LEFT_OUT, "seq_length": 2048}
    write_variant(untied, untied, **published)
    write_golden(untied)


if __name__ == "__main__":
    write()
