#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares what the llmgpu command computes with reference data.

    oracle.py COMMAND DEVICE SUITE

SUITE is one of
    logits      `score --logits` against float64 logits, for every architecture
    quants      the same for every weight type, and for files of mixed types
    fast        the same with activations in 8 or 16 bits, where a device has them
    greedy      `run` against expected greedy tokens
    lora        both with adapters
    merge       adapters merged into their base, as files of their own
    quantize    files that `quantize` makes against the widely used ones
    perplexity  `score` against expected negative log-likelihoods

The data is in $LLMGPU_SHARED; without it the test is skipped.
"""
import array
import json
import math
import os
import subprocess
import sys
import tempfile

import peft

SKIP = 77
ARCHITECTURES = ["llama", "llama-linear", "llama3-ropefreqs", "qwen2", "gpt2"]
WEIGHT_TYPES = ["BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
MIXES = ["mix-Q2_K", "mix-Q3_K_L", "mix-Q4_K_M"]
# float32 arithmetic against float64; the data's README derives it.
LOGIT_LIMIT = 1e-4
# Activations in 8 bits, largest and root of the mean square.
FAST_LIMITS = (0.6, 0.1)
NLL_LIMIT = 0.005

failures = 0


def shared(*parts):
    return os.path.join(os.environ["LLMGPU_SHARED"], *parts)


def load(path):
    with open(path) as f:
        return json.load(f)


def floats(path):
    data = array.array("f")
    with open(path, "rb") as f:
        data.frombytes(f.read())
    return data


def report(name, ok, detail):
    global failures
    failures += not ok
    print(f"{'ok  ' if ok else 'FAIL'} {name}: {detail}", flush=True)


class Runner:
    def __init__(self, command, device):
        self.command, self.device = command, device

    def __call__(self, *args):
        """stdout of the command, which must succeed without a finding of its debug mode."""
        line = [self.command, *args, "--device", self.device]
        if self.device != "cpu":
            line.append("--check")
        done = subprocess.run(line, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(line)}\nexit status {done.returncode}: {done.stderr}")
        return done.stdout


def ids(tokens):
    return " ".join(map(str, tokens))


def check_logits(run, name, model, prompt, expected_path, *options, limits=(LOGIT_LIMIT, LOGIT_LIMIT)):
    with tempfile.NamedTemporaryFile(suffix=".bin") as out:
        run("score", "-m", model, "--ids", ids(prompt), "--logits", out.name, "--json", *options)
        found = floats(out.name)
    expected = floats(expected_path)
    if len(found) != len(expected):
        report(name, False, f"{len(found)} logits, not {len(expected)}")
        return
    differences = [abs(a - b) if a == a else math.inf for a, b in zip(found, expected)]
    worst, rms = max(differences), math.sqrt(sum(d * d for d in differences) / len(differences))
    report(name, worst <= limits[0] and rms <= limits[1], f"largest difference {worst:.2e}, rms {rms:.2e}")


def test_logits(run):
    for arch in ARCHITECTURES:
        folder = shared("oracle", "visible", "models", arch)
        manifest = load(os.path.join(folder, "manifest.json"))
        for case in manifest["cases"]:
            # Positions may be stored for some rows only; then the whole is compared where it is whole.
            if "rows" in case:
                continue
            for file in manifest["files"].values():
                check_logits(run, f"{arch} {file} {case['name']}", os.path.join(folder, file), case["prompt"],
                             os.path.join(folder, case["logits_f64"]["file"]))


def test_quants(run, *options, **limits):
    folder = shared("oracle", "visible", "quant")
    manifest = load(os.path.join(folder, "manifest.json"))
    for kind in WEIGHT_TYPES:
        entry = manifest["types"][kind]
        check_logits(run, kind, os.path.join(folder, kind, "model.gguf"), manifest["prompt"],
                     os.path.join(folder, entry["logits_f64"]["file"]), *options, **limits)
    for mix in MIXES:
        check_logits(run, mix, os.path.join(folder, mix + ".gguf"), manifest["prompt"],
                     os.path.join(folder, mix + ".logits_f64.bin"), *options, **limits)


def test_fast(run):
    test_quants(run, "--precision", "fast", limits=FAST_LIMITS)


def check_greedy(run, name, model, prompt, expected, *options):
    found = json.loads(run("run", "-m", model, "--ids", ids(prompt), "-n", str(len(expected)),
                           "--ignore-eos", "--json", *options))["tokens"]
    same = next((i for i, (a, b) in enumerate(zip(found, expected)) if a != b), min(len(found), len(expected)))
    report(name, found == expected, f"{same} of {len(expected)} tokens equal")


def fixtures():
    folder = shared("models", "fixtures")
    for name in sorted(os.listdir(folder)):
        yield name[: -len(".json")], load(os.path.join(folder, name))


def is_exact(name):
    return name.rsplit("-", 1)[1] in ("f32", "f16", "bf16")


def test_greedy(run):
    for name, fixture in fixtures():
        if is_exact(name):
            check_greedy(run, name, shared("models", name + ".gguf"), fixture["prompt_tokens"],
                         fixture["greedy_tokens"])
    for arch in ARCHITECTURES:
        folder = shared("oracle", "visible", "models", arch)
        manifest = load(os.path.join(folder, "manifest.json"))
        for case in manifest["cases"]:
            model = os.path.join(folder, manifest["files"]["f16"])
            check_greedy(run, f"{arch} {case['name']}", model, case["prompt"], case["greedy"])


def test_lora(run):
    folder = shared("oracle", "visible", "lora")
    n_cases = 0
    for case in load(os.path.join(folder, "manifest.json"))["cases"]:
        if "adapter" not in case:
            continue  # two adapters at once: lora_oracle.c
        model, adapter = os.path.join(folder, case["model"]), os.path.join(folder, case["adapter"])
        name = f"{case['adapter']} x {case['scale']} on {case['base']} {case['base_weights']}"
        check_logits(run, name, model, case["prompt"], os.path.join(folder, case["logits_f64"]), "--lora",
                     f"{adapter}={case['scale']}")
        # Greedy tokens are those of exact arithmetic, which scores have anyway.
        check_greedy(run, name, model, case["prompt"], case["greedy"], "--lora", f"{adapter}={case['scale']}", "--precision",
                     "float32")
        n_cases += 1
        if case["scale"] == 1 and case["base_weights"] == "f32":
            with tempfile.TemporaryDirectory() as converted:
                peft.convert(run.command, adapter, model, converted)
                check_logits(run, name + ", as PEFT saves it", model, case["prompt"], os.path.join(folder, case["logits_f64"]),
                             "--lora", converted)
    report("cases", n_cases >= 10, str(n_cases))


def write_model(run, *args):
    """Runs a command that writes a file, and opens no device."""
    done = subprocess.run([run.command, *args], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(args)}\nexit status {done.returncode}: {done.stderr}")
    return done.stdout


def test_merge(run):
    folder = shared("oracle", "visible", "lora")
    for case in load(os.path.join(folder, "manifest.json"))["cases"]:
        model = os.path.join(folder, case["model"])
        adapters = case.get("adapters") or [case["adapter"]]
        scales = case.get("scales") or [case["scale"]]
        words = [f"{os.path.join(folder, adapter)}={scale}" for adapter, scale in zip(adapters, scales)]
        name = f"{' and '.join(f'{a} x {s}' for a, s in zip(adapters, scales))} in {case['base']}"
        options = [option for word in words for option in ("--lora", word)]
        expected = os.path.join(folder, case.get("logits_f64") or case["logits"])
        with tempfile.TemporaryDirectory() as made:
            merged = os.path.join(made, "merged.gguf")
            write_model(run, "merge", "-m", model, *options, "-o", merged, "--type", "F32")
            check_logits(run, name, merged, case["prompt"], expected)
            write_model(run, "merge", "-m", model, *options, "-o", merged, "--type", "Q8_0")
            check_logits(run, name + " as Q8_0", merged, case["prompt"], expected, limits=FAST_LIMITS)


def text_nll(run, model, text):
    return json.loads(run("score", "-m", model, "-f", shared("text", text), "--window", "256", "--json"))["nll"]


def test_quantize(run):
    """A text must be no less likely, within a hundredth of the perplexity, than to the same mix made elsewhere."""
    with tempfile.TemporaryDirectory() as made:
        for kind in ("q4_k_m", "q8_0", "q4_0"):
            model = os.path.join(made, kind + ".gguf")
            write_model(run, "quantize", shared("models", "stories3M-f16.gguf"), model, kind)
            for text in ("ppl-tinystories.txt", "ppl-tinystories-lower.txt"):
                ours = text_nll(run, model, text)
                theirs = text_nll(run, shared("models", f"stories3M-{kind}.gguf"), text)
                report(f"{kind}, {text}", ours <= theirs + 0.01,
                       f"perplexity {math.exp(ours):.4f}, elsewhere {math.exp(theirs):.4f}")


def test_perplexity(run):
    for name, fixture in fixtures():
        model, ppl = shared("models", name + ".gguf"), fixture["ppl"]
        with open(shared("text", ppl["text"]), encoding="utf-8") as f:
            text = f.read()
        done = subprocess.run([run.command, "tokenize", "-m", model, "--special", "--json", "-"], input=text,
                              capture_output=True, text=True, check=True)
        # Every window on the CPU; the first ones are enough to see that another device computes the same.
        n_windows = ppl["windows"] if run.device == "cpu" else 3
        expected = sum(ppl["window_nll"][:n_windows]) / n_windows
        tokens = json.loads(done.stdout)["tokens"][: n_windows * ppl["window"]]
        found = json.loads(run("score", "-m", model, "--ids", ids(tokens), "--window", str(ppl["window"]), "--json"))
        off = abs(found["nll"] / expected - 1)
        report(name, found["windows"] == n_windows and off <= NLL_LIMIT,
               f"nll {found['nll']:.5f} of {found['scored']} tokens, {100 * off:.3f}% off")


def main():
    command, device, suite = sys.argv[1:4]
    if not os.environ.get("LLMGPU_SHARED"):
        print("no shared data beside this checkout")
        sys.exit(SKIP)
    run = Runner(command, device)
    suites = {"logits": test_logits, "quants": test_quants, "fast": test_fast, "greedy": test_greedy, "lora": test_lora,
              "merge": test_merge, "quantize": test_quantize, "perplexity": test_perplexity}
    suites[suite](run)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
