# SPDX-License-Identifier: MIT
"""Rewrites an adapter from GGUF as PEFT saves adapters: adapter_model.safetensors and adapter_config.json in a folder."""
import json
import os
import re
import struct
import subprocess

MODULES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def inspect(command, path):
    return json.loads(subprocess.run([command, "inspect", "--tensors", "--json", path], capture_output=True, check=True).stdout)


def halves(data, n_rows, head_dim):
    """Rows of heads that come in pairs, as Hugging Face have them: the even ones of a head, then the odd ones."""
    size = len(data) // n_rows
    rows = [data[i * size : (i + 1) * size] for i in range(n_rows)]
    heads = [rows[i : i + head_dim] for i in range(0, n_rows, head_dim)]
    return b"".join(row for head in heads for row in head[0::2] + head[1::2])


def convert(command, adapter, model, folder):
    about, base = inspect(command, adapter), inspect(command, model)["metadata"]
    arch = base["general.architecture"]
    head_dim = base[f"{arch}.embedding_length"] // base[f"{arch}.attention.head_count"]
    header, data, ranks = {}, b"", set()
    with open(adapter, "rb") as file:
        for t in about["tensors"]:
            layer, matrix, half = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight\.lora_([ab])", t["name"]).groups()
            file.seek(t["offset"])
            numbers = file.read(t["bytes"])
            shape = t["shape"][::-1]
            if half == "a":
                ranks.add(shape[0])
            elif arch == "llama" and matrix in ("attn_q", "attn_k"):
                numbers = halves(numbers, shape[0], head_dim)
            name = f"base_model.model.model.layers.{layer}.{MODULES[matrix]}.lora_{half.upper()}.weight"
            header[name] = {"dtype": t["type"], "shape": shape, "data_offsets": [len(data), len(data) + len(numbers)]}
            data += numbers
    (rank,) = ranks
    config = {
        "peft_type": "LORA", "r": rank, "lora_alpha": about["metadata"]["adapter.lora.alpha"], "use_rslora": False, "bias": "none",
        "target_modules": sorted({name.split(".")[-3] for name in header}), "modules_to_save": None, "rank_pattern": {},
        "alpha_pattern": {}, "init_lora_weights": True, "task_type": "CAUSAL_LM", "fan_in_fan_out": False,
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "adapter_model.safetensors"), "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + data)
    with open(os.path.join(folder, "adapter_config.json"), "w", encoding="utf-8") as out:
        json.dump(config, out)
