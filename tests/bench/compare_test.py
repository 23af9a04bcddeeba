# SPDX-License-Identifier: MIT
"""tests/bench/compare, with programs that only say what they were asked, and with llmgpu itself."""
import json
import os
import stat
import subprocess
import sys
import tempfile
import unittest

COMPARE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "compare")
LLMGPU = os.environ["LLMGPU_COMMAND"]
MODEL = os.path.join(os.environ["LLMGPU_BUNDLED"], "tavern-3.7m-q8_0.gguf")

# Writes what it was called with and where to LOG, then plays its part; SPEED files count its calls.
FAKE = '''#!{python}
import json, os, sys
here = os.path.dirname(os.path.abspath(sys.argv[0]))
name, args = os.path.basename(sys.argv[0]), sys.argv[1:]
with open(os.path.join(here, "log"), "a") as log:
    log.write(json.dumps([name, args, os.getcwd()]) + "\\n")
option = lambda key, default: args[args.index(key) + 1] if key in args else default
numbers = lambda key, default: [int(n) for n in option(key, default).split(",")]
with open(os.path.join(here, "log")) as log:
    calls = sum(1 for line in log if json.loads(line)[0] == name)
if "--version" in args:
    print("version: 7 (fake)" if name.startswith("llama") else "llmgpu fake")
elif name == "llama-bench":
    sys.stdout.write("a wrapper's own words\\n")
    rows = [dict(n_prompt=n, n_gen=0, n_depth=d) for n in numbers("-p", "512") if n for d in numbers("-d", "0")]
    rows += [dict(n_prompt=0, n_gen=n, n_depth=d) for n in numbers("-n", "128") if n for d in numbers("-d", "0")]
    print(json.dumps([dict(row, avg_ts=10.0, build_number=7, build_commit="fake", backends="None") for row in rows]))
elif name == "llama-completion":
    bytearray(64 << 20)
elif "bench" in args:
    rows = [(f"pp{{n}}", None) for n in numbers("-p", "512") if n]
    rows += [(f"tg{{n}}" + (f" @ d{{d}}" if d else ""), 0.5) for n in numbers("-n", "128") if n
             for d in numbers("--depth", "0")]
    print(json.dumps([dict(test=test, tokens_per_second=dict(median=20.0 + 10 * (calls % 2)), bandwidth_share=share,
                           gigabytes_per_second=share and 6.0, device="cpu fake") for test, share in rows]))
elif "tokenize" in args:
    print(json.dumps(dict(tokens=[1] + [2] * len(args[-1].split()))))
'''

# Enters nothing: `enter run DIR PROGRAM ...`, in the current directory.
ENTER = '#!/bin/sh\n[ "$1 $2" = "run there" ] || exit 1\nshift 2\nprogram=$1\nshift\nexec "{folder}/$program" "$@"\n'


class Compare(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = os.path.realpath(folder.name)
        for name in ("llama-bench", "llama-completion", "llmgpu"):
            self.write(name, FAKE.format(python=sys.executable))
        self.write("enter", ENTER.format(folder=self.folder))
        os.mkdir(os.path.join(self.folder, "models"))
        self.model = os.path.join(self.folder, "models", "small.gguf")
        with open(self.model, "wb") as file:
            file.truncate(1 << 20)
        self.line = f"{self.folder}/enter run there llama-bench"

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, stat.S_IRWXU)

    def run_compare(self, *args, ours=None):
        ours = ours or f"{self.folder}/llmgpu bench --device cpu"
        return subprocess.run([sys.executable, COMPARE, "--ours", ours, *args], cwd="/", capture_output=True, text=True,
                              timeout=240)

    def good(self, *args, **more):
        done = self.run_compare(*args, **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def log(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def test_rounds_in_turns(self):
        text = self.good("-m", self.model, "-p", "32", "-n", "8", "-r", "3", self.line)
        calls = [entry for entry in self.log() if "--version" not in entry[1]]
        self.assertEqual([name for name, *_ in calls], ["llmgpu", "llama-bench"] * 3)
        for name, args, cwd in calls:
            self.assertEqual(cwd, os.path.dirname(self.model))
            self.assertEqual(args[args.index("-m") + 1], "small.gguf")
            self.assertEqual((args[args.index("-p") + 1], args[args.index("-n") + 1]), ("32", "8"))
            self.assertEqual(args[args.index("-t") + 1] if name == "llama-bench" else "2", "2")
        # Ours says 20 and 30 in turns, of which the median is 20 or 30; the other always 10.
        self.assertRegex(text, r"(?m)^\| small \| pp32 \| (20|30)\.00 \|  \| 10\.00 \| [23]\.00 \| 2\.00 \.\. 3\.00 \|$")
        self.assertRegex(text, r"(?m)^\| small \| tg8 \| (20|30)\.00 \| 50\.0% \| 10\.00 \| [23]\.00 \| 2\.00 \.\. 3\.00 \|$")
        self.assertRegex(text.splitlines()[0], r"\d+ cores, [\d.]+ GiB, cpu fake reads 12\.0 GB/s\. llmgpu fake; "
                                               r"llama\.cpp 7 \(fake\), None\. 3 rounds\.$")

    def test_lists_and_models(self):
        other = os.path.join(self.folder, "models", "other.gguf")
        with open(other, "wb"):
            pass
        found = json.loads(self.good("-m", self.model, "-m", other, "-p", "4,8", "-n", "2", "--depth", "0,16", "-r", "1",
                                     "--rival-args=-ngl 0 --threads 3", "--json", self.line))
        self.assertEqual([(row["model"], row["test"]) for row in found["speeds"]],
                         [(model, test) for model in ("small", "other") for test in ("pp4", "pp8", "tg2", "tg2 @ d16")])
        self.assertEqual(found["versions"], {"ours": "llmgpu fake", "rival": "7 (fake), None"})
        self.assertEqual(found["machine"]["read_gigabytes_per_second"], 12)
        rival = next(args for name, args, _ in self.log() if name == "llama-bench")
        self.assertEqual(rival[:4], ["-ngl", "0", "--threads", "3"])
        self.assertNotIn("-t", rival)
        self.assertEqual(rival[rival.index("-d") + 1], "0,16")

    def test_old_spelling(self):
        text = self.good("-m", self.model, "-p", "0", "-n", "8", "-r", "1", "--rival", f"{self.folder}/llama-bench -t 9")
        self.assertIn("| tg8 |", text)
        self.assertNotIn("| pp", text)
        rival = next(args for name, args, _ in self.log() if name == "llama-bench")
        self.assertEqual(rival[:2] + [rival.count("-t")], ["-t", "9", 1])

    def test_answers(self):
        found = json.loads(self.good("-m", self.model, "-p", "32", "-n", "8", "-r", "2", "--first-token", "--memory", "--json",
                                     self.line))
        self.assertNotIn("speeds", found)
        first, = found["first_token"]
        self.assertEqual((first["model"], first["prompt_tokens"]), ("small", 128))
        self.assertTrue(0 < first["ours"]["min"] <= first["ours"]["median"] <= first["ours"]["max"] < 60, first)
        memory, = found["memory"]
        self.assertEqual(memory["file_bytes"], 1 << 20)
        self.assertGreater(memory["rival"]["min"], 64 << 20) # through the line's shell
        self.assertLess(memory["ours"]["max"], 64 << 20)
        self.assertAlmostEqual(memory["ours_of_file"], memory["ours"]["max"] / (1 << 20))
        answers = [entry for entry in self.log() if entry[0] == "llama-completion" and "--version" not in entry[1]]
        ours = [args for name, args, _ in self.log() if name == "llmgpu" and args[0] == "run"]
        self.assertEqual((len(answers), len(ours)), (4, 4))
        for (_, rival_args, cwd), our_args, n_prompt in zip(answers, ours, (128, 128, 32, 32)):
            prompt = our_args[our_args.index("-p") + 1]
            self.assertEqual(len(prompt.split()), n_prompt - 1) # the first token is there by itself
            self.assertEqual(rival_args[rival_args.index("-p") + 1], prompt)
            self.assertIn("--no-warmup", rival_args)
            self.assertEqual(cwd, os.path.dirname(self.model))

    def test_busy(self):
        text = self.good("-m", self.model, "-n", "8", "-r", "2", "--busy", f"{self.folder}/llama-bench")
        self.assertRegex(text, r"(?m)^\| small \| tg8 \| llmgpu \| \d+\.00 \| \d+\.00 \| \d+% \|")
        self.assertRegex(text, r"(?m)^\| small \| tg8 \| llama\.cpp \| 10\.00 \| 10\.00 \| 100% \| 100% \.\. 100% \|$")
        self.assertNotIn("tok/s | of bandwidth", text)

    def test_with_llmgpu(self):
        found = json.loads(self.good("-m", MODEL, "-p", "16", "-n", "4", "-r", "1", "--speeds", "--first-token", "--json",
                                     self.line, ours=f"{LLMGPU} bench --device cpu -t 1"))
        self.assertEqual([row["test"] for row in found["speeds"]], ["pp16", "tg4"])
        self.assertRegex(found["versions"]["ours"], r"^llmgpu \d")
        self.assertGreater(found["machine"]["read_gigabytes_per_second"], 0)
        for row in found["speeds"]:
            self.assertAlmostEqual(row["ratio"]["median"], row["ours"]["median"] / 10)

    def test_failures(self):
        for args, words in (
            (("-m", self.model), "give a llama-bench"),
            (("-m", self.model + ".none", self.line), "no model"),
            (("-m", self.model, f"{self.folder}/enter run elsewhere llama-bench"), "exit status 1"),
            (("-m", self.model, "/nonexistent/llama-bench"), "/nonexistent/llama-bench"),
            (("-m", self.model, "--memory", f"{self.folder}/enter"), "no llama-bench in the line"),
            (("-m", self.model, "-r", "0", self.line), "at least one round"),
        ):
            done = self.run_compare(*args)
            self.assertNotEqual(done.returncode, 0, args)
            self.assertIn(words, done.stderr)


if __name__ == "__main__":
    unittest.main()
