#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs of `llmgpu train` against those that were recorded: train.py LLMGPU DEVICE

The losses, learning rates and gradient norms of each of the 50 steps, and the adapter in the end. Data are tokens in lines of
JSON, a step takes two of them in the order of the file.
"""
import array
import json
import os
import subprocess
import sys
import tempfile

SKIP = 77
LIMIT = 1e-4  # of losses, relative; that of norms is ten times it
# Of the largest change of an adapter's numbers. AdamW divides by what rounding makes of gradients near zero: float32 in PyTorch
# is 8e-4 away from float64.
ADAPTER_LIMIT = {"adamw": 5e-3, "sgd": 1e-4}


def write_samples(path, tokens, columns):
    """What the first eight targets are does not count: these are tokens 1 to 8."""
    with open(path, "w", encoding="utf-8") as file:
        for begin in range(0, len(tokens), columns):
            mask = [0] * 9 + [1] * (columns - 9)
            file.write(json.dumps({"tokens": list(tokens[begin : begin + columns]), "mask": mask}) + "\n")


def read_numbers(path, kind):
    numbers = array.array(kind)
    with open(path, "rb") as file:
        numbers.frombytes(file.read())
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def run(program, device, folder, setup, name, recorded, work):
    model = setup["model_q4_k"] if recorded["base"] == "q4_k" else setup["model"]
    metrics, out = os.path.join(work, name + ".jsonl"), os.path.join(work, name + ".gguf")
    optimizer = ["--momentum", str(recorded["momentum"])] if recorded["optimizer"] == "sgd" else []
    command = [
        program, "train", "-m", os.path.join(folder, model), "--data", os.path.join(work, "data.jsonl"), "-o", out,
        "--init", os.path.join(folder, setup["adapter"]), "--ctx", "32", "--batch", "2", "--no-shuffle", "--no-pack",
        "--steps", "50", "--warmup", "5", "--schedule", "cosine", "--optimizer", recorded["optimizer"],
        "--lr", str(recorded["peak_lr"]), "--weight-decay", str(recorded["weight_decay"]), "--clip", str(recorded["clip_norm"]),
        "--metrics", metrics, "--device", device, "--json", *optimizer]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600)
    if done.returncode != 0:
        return [f"{name}: {done.stderr.decode()[-500:]}"]
    with open(metrics, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    if len(rows) != len(recorded["lr"]):
        return [f"{name}: {len(rows)} rows"]
    problems, worst = [], [0.0, 0.0, 0.0]
    wanted = zip(recorded["loss_float64"], recorded["lr"], recorded["grad_norm_float64"])
    for row, values in zip(rows, wanted):
        for i, (key, value) in enumerate(zip(("loss", "lr", "grad_norm"), values)):
            error = abs(row[key] - value) / max(abs(value), 1e-12)
            worst[i] = max(worst[i], error if value > 1e-9 else 0)
            if error > (LIMIT if key != "grad_norm" else 10 * LIMIT) and abs(row[key] - value) > 1e-9:
                problems.append(f"{name}: step {row['step']}: {key} {row[key]}, not {value}")
    problems += check_adapter(folder, name, recorded, out)
    print(f"{name}: at most {worst[0]:.1e} of a loss, {worst[1]:.1e} of a rate, {worst[2]:.1e} of a norm")
    return problems


def read_adapter(path):
    """The tensors of a GGUF adapter, all float32."""
    import struct
    with open(path, "rb") as file:
        data = file.read()
    at = 4

    def take(form):
        nonlocal at
        value = struct.unpack_from("<" + form, data, at)[0]
        at += struct.calcsize("<" + form)
        return value

    def text():
        nonlocal at
        n = take("Q")
        at += n
        return data[at - n : at].decode()

    scalars = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            inner = take("I")
            return [value(inner) for _ in range(take("Q"))]
        return take(scalars[kind])

    take("I")
    n_tensors, n_pairs, alignment = take("Q"), take("Q"), 32
    for _ in range(n_pairs):
        key = text()
        found = value(take("I"))
        alignment = found if key == "general.alignment" else alignment
    infos = []
    for _ in range(n_tensors):
        name = text()
        dims = [take("Q") for _ in range(take("I"))]
        infos.append((name, dims, take("I"), take("Q")))
    base = -(-at // alignment) * alignment
    tensors = {}
    for name, dims, kind, offset in infos:
        n = dims[0] * (dims[1] if len(dims) > 1 else 1)
        assert kind == 0, name
        tensors[name] = struct.unpack_from(f"<{n}f", data, base + offset)
    return tensors


def check_adapter(folder, name, recorded, path):
    numbers = read_numbers(os.path.join(folder, recorded["final"]["file"]), "f")
    got, worst = read_adapter(path), 0.0
    for key, place in recorded["final"]["index"].items():
        n = place["shape"][0] * place["shape"][1]
        if key not in got or len(got[key]) != n:
            return [f"{name}: the adapter has no {key}, or of another size"]
        pairs = zip(got[key], numbers[place["offset"] : place["offset"] + n])
        worst = max(worst, max(abs(a - b) for a, b in pairs))
    limit = ADAPTER_LIMIT[recorded["optimizer"]] * recorded["final_param_max_change"]
    print(f"{name}: at most {worst:.1e} in the adapter, {worst / recorded['final_param_max_change']:.1e} of the largest change")
    return [] if worst <= limit else [f"{name}: the adapter differs by {worst:.2e}, more than {limit:.2e}"]


def main():
    program, device = sys.argv[1:3]
    folder = os.path.join(os.environ.get("LLMGPU_SHARED", ""), "oracle", "visible", "train")
    if not os.path.exists(os.path.join(folder, "manifest.json")):
        print("no recorded runs on this machine")
        return SKIP
    with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    setup, problems = manifest["lora_setup"], []
    with tempfile.TemporaryDirectory() as work:
        tokens = read_numbers(os.path.join(folder, setup["tokens"]["file"]), "i")
        write_samples(os.path.join(work, "data.jsonl"), tokens, setup["tokens"]["shape"][1])
        for name, recorded in manifest["runs"].items():
            problems += run(program, device, folder, setup, name, recorded, work)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
