#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the model before its first step: a GGUF file with the tokenizer and random weights in float32.

The architecture is llama's: pre-norm with RMSNorm, rotary positions, grouped-query attention, SwiGLU, and an output
matrix that is the embedding's. Matrices are drawn with a deviation of 0.7 / sqrt(inputs), those that write to the residual
stream divided by sqrt(2 layers), as GPT-2 does."""
import argparse
import array
import math
import random
import struct

from tokenizer import SPECIALS, Tokenizer

VOCAB, WIDTH, LAYERS, HEADS, KV_HEADS, HEAD, FFN, CONTEXT = 2048, 256, 4, 8, 4, 32, 768, 512
CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
ALIGNMENT, NORMAL, CONTROL = 32, 1, 3


def string(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(x):
    """A metadata value with its type in front, as GGUF version 3 has them."""
    if isinstance(x, bool):
        return struct.pack("<I?", 7, x)
    if isinstance(x, int):
        return struct.pack("<II", 4, x)
    if isinstance(x, float):
        return struct.pack("<If", 6, x)
    if isinstance(x, str):
        return struct.pack("<I", 8) + string(x)
    if isinstance(x[0], str):
        return struct.pack("<IIQ", 9, 8, len(x)) + b"".join(map(string, x))
    return struct.pack("<IIQ", 9, 5, len(x)) + struct.pack(f"<{len(x)}i", *x)


def metadata(tokenizer):
    return {
        "general.architecture": "llama", "general.type": "model", "general.name": "Tavern 3.7M",
        "general.description": "NPC dialogue; text, tokenizer and weights made for libllmgpu",
        "general.file_type": 0, "general.quantization_version": 2,
        "llama.context_length": CONTEXT, "llama.embedding_length": WIDTH, "llama.block_count": LAYERS,
        "llama.feed_forward_length": FFN, "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS, "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 10000.0, "llama.rope.dimension_count": HEAD, "llama.vocab_size": VOCAB,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokenizer.tokens,
        "tokenizer.ggml.token_type": [CONTROL if x in SPECIALS else NORMAL for x in tokenizer.tokens],
        "tokenizer.ggml.merges": tokenizer.merges,
        "tokenizer.ggml.bos_token_id": tokenizer.eot, "tokenizer.ggml.eos_token_id": tokenizer.im_end,
        "tokenizer.ggml.padding_token_id": tokenizer.eot, "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHATML,
    }


def tensors():
    """(name, shape, deviation) of each weight; None: all ones."""
    q, kv = HEADS * HEAD, KV_HEADS * HEAD
    last = 1 / math.sqrt(2 * LAYERS)
    yield "token_embd.weight", (VOCAB, WIDTH), 0.02
    for i in range(LAYERS):
        for name, shape, scale in (("attn_norm", (WIDTH,), None), ("attn_q", (q, WIDTH), 1), ("attn_k", (kv, WIDTH), 1),
                                   ("attn_v", (kv, WIDTH), 1), ("attn_output", (WIDTH, q), last),
                                   ("ffn_norm", (WIDTH,), None), ("ffn_gate", (FFN, WIDTH), 1),
                                   ("ffn_up", (FFN, WIDTH), 1), ("ffn_down", (WIDTH, FFN), last)):
            yield f"blk.{i}.{name}.weight", shape, scale and 0.7 * scale / math.sqrt(shape[-1])
    yield "output_norm.weight", (WIDTH,), None


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("tokenizer", help="what tokenizer.py wrote")
    ap.add_argument("out", help="the model, a GGUF file")
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    draw = random.Random(a.seed)
    pairs = metadata(Tokenizer(a.tokenizer))
    infos, data, offset = b"", [], 0
    for name, shape, deviation in tensors():
        n = math.prod(shape)
        weights = (1.0,) * n if deviation is None else (draw.gauss(0, deviation) for _ in range(n))
        raw = array.array("f", weights).tobytes()
        raw += bytes(-len(raw) % ALIGNMENT)
        infos += string(name) + struct.pack("<I", len(shape))
        infos += b"".join(struct.pack("<Q", n) for n in reversed(shape)) + struct.pack("<IQ", 0, offset)
        data.append(raw)
        offset += len(raw)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(data), len(pairs))
    head += b"".join(string(key) + value(x) for key, x in pairs.items()) + infos
    with open(a.out, "wb") as file:
        file.write(head + bytes(-len(head) % ALIGNMENT) + b"".join(data))


if __name__ == "__main__":
    main()
