#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Another manner of speech for the bundled model: manner.py LLMGPU DEVICE

A short training on dialogues of pirates changes how it speaks: the loss of such dialogues falls by 40% or more. What it knew
stays: that of other texts rises by less than 15%.
"""
import json
import os
import subprocess
import sys
import tempfile

SKIP = 77
OPTIONS = ("--loss-on", "all", "--rank", "16", "--lr", "1e-3", "--warmup", "5", "--steps", "55")


def train(*args):
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=3000)
    if done.returncode != 0:
        sys.exit(done.stderr.decode()[-500:])
    return json.loads(done.stdout)


def main():
    program, device = sys.argv[1:3]
    tavern = os.path.join(os.environ.get("LLMGPU_SHARED", ""), "models", "tavern")
    data = os.path.join(tavern, "data")
    if not os.path.exists(os.path.join(data, "pirate.jsonl")):
        print("no such dialogues on this machine")
        return SKIP
    command = (program, "train", "-m", os.path.join(tavern, "tavern-3.7m-f16.gguf"), "--device", device, "--json")
    with tempfile.TemporaryDirectory() as work:
        out, general = os.path.join(work, "pirate.gguf"), os.path.join(work, "general.jsonl")
        with open(os.path.join(data, "val.txt"), encoding="utf-8") as file:
            texts = [text for text in file.read().split("<|endoftext|>") if text.strip()]
        with open(general, "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text + "<|endoftext|>"}) + "\n" for text in texts)
        train(*command, "--data", os.path.join(data, "pirate.jsonl"), "-o", out, *OPTIONS)
        # A step at rate 0 changes nothing; what is validated before it is the model without and with the adapter.
        losses = {}
        for name, path in (("pirates", os.path.join(data, "pirate_val.jsonl")), ("others", general)):
            for init in ((), ("--init", out)):
                result = train(*command, "--data", path, "--val", path, "-o", os.path.join(work, "none.gguf"), "--steps", "1",
                               "--lr", "0", *init)
                losses.setdefault(name, []).append(result["val_loss_before"])
    for name, (before, after) in losses.items():
        print(f"{name}: {before:.4f} before, {after:.4f} after, {100 * (after / before - 1):+.1f}%")
    return 0 if losses["pirates"][1] <= 0.6 * losses["pirates"][0] and losses["others"][1] < 1.15 * losses["others"][0] else 1


if __name__ == "__main__":
    sys.exit(main())
