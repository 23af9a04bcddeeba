#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Asks a model what its system prompt says: the questions of eval_cases.json, answered greedily.

Prints how many facts were found ("facts"), how often the model said that it does not know what the prompt lacks
("absent"), both by kind of question, and the mean loss over the documents of val.jsonl ("val_loss", nats a token)."""
import argparse
import collections
import json
import math
import os
import re
import subprocess


def command(llmgpu, *arguments):
    return json.loads(subprocess.run([llmgpu, *arguments, "--json"], check=True, capture_output=True, text=True).stdout)


def prompt(messages):
    said = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return said + "<|im_start|>assistant\n"


def right(case, answer):
    if case["expect"] is None:
        return bool(re.search(case["regex"], answer))
    return case["expect"].lower() in answer.lower()


def probe(llmgpu, model, path):
    """{"facts" or "absent": {intent: [right, asked]}}"""
    tally = {"facts": collections.defaultdict(lambda: [0, 0]), "absent": collections.defaultdict(lambda: [0, 0])}
    with open(path, encoding="utf-8") as file:
        cases = json.load(file)
    for case in cases:
        out = command(llmgpu, "run", "-m", *model, "-n", "100", "-p", prompt(case["messages"]))
        count = tally["absent" if case["expect"] is None else "facts"][case["intent"]]
        count[0] += right(case, out["text"])
        count[1] += 1
    return tally


def loss(llmgpu, model, path):
    total = scored = 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            ids = " ".join(map(str, json.loads(line)["tokens"]))
            out = command(llmgpu, "score", "-m", *model, "-w", "512", "--ids", ids)
            total += out["nll"] * out["scored"]
            scored += out["scored"]
    return total / scored


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("model", help="a GGUF file")
    ap.add_argument("folder", help="where corpus.py and lessons.py wrote")
    ap.add_argument("--llmgpu", default="llmgpu", help="the command")
    ap.add_argument("-d", "--device", default="auto")
    a = ap.parse_args()
    model = (a.model, "-d", a.device)
    tally = probe(a.llmgpu, model, os.path.join(a.folder, "eval_cases.json"))
    for kind, counts in tally.items():
        good, asked = (sum(x[i] for x in counts.values()) for i in (0, 1))
        print(f"{kind}: {good} of {asked} (" + ", ".join(f"{k} {g}/{n}" for k, (g, n) in sorted(counts.items())) + ")")
    nats = loss(a.llmgpu, model, os.path.join(a.folder, "val.jsonl"))
    print(f"val_loss: {nats:.4f} (perplexity {math.exp(nats):.3f})")


if __name__ == "__main__":
    main()
