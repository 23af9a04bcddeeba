# SPDX-License-Identifier: MIT
"""The command line itself: help, mistakes, and the names they hint at. No model is opened."""
import os
import re
import subprocess
import unittest

from command import COMMANDS, PROGRAM, CommandTest

OPTIONS = {
    "run": "model prompt file ids max-tokens ctx batch tokens-per-submit ignore-eos lora json repeat-penalty"
    " freq-penalty presence-penalty last-n top-k top-p min-p temp seed logit-bias device threads precision kv cache-dir"
    " no-tune check verbose",
    "chat": "model system template max-tokens ctx batch tokens-per-submit lora no-history repeat-penalty freq-penalty"
    " presence-penalty last-n top-k top-p min-p temp seed device threads precision kv cache-dir no-tune check verbose",
    "score": "model file ids window batch logits lora json device threads precision kv cache-dir no-tune check verbose",
    "bench": "model prompt-tokens decode-tokens depth sequences shared-prompt lora background repeat load profile batch tokens-per-submit json device threads"
    " precision kv cache-dir no-tune check verbose",
    "train": "model data output peft json dry-run show ctx batch accumulate epochs steps loss-on bad-lines plain no-shuffle no-pack"
    " seed val val-split eval-every early-stop rank alpha rslora dropout targets init full optimizer lr lr-min schedule warmup"
    " weight-decay momentum clip checkpoint-every resume metrics no-recompute device threads precision kv cache-dir no-tune check"
    " verbose",
    "tokenize": "model special json",
    "detokenize": "model json",
    "inspect": "tensors json",
    "devices": "json",
    "quantize": "threads json",
    "merge": "model lora output type threads json",
    "pacer": "device watch sysfs json policy target power simulate plant hysteresis svg",
}


class Help(CommandTest):
    def test_lists_every_command(self):
        text = self.good("--help")
        for command in COMMANDS:
            self.assertRegex(text, rf"(?m)^  {command} ")
        self.assertEqual(text, self.good("help"))
        self.assertEqual(text, self.good("-h"))

    def test_lists_every_option(self):
        for command in COMMANDS:
            text = self.good(command, "--help")
            listed = re.findall(r"(?m)^  (?:-\w,|   ) --([\w-]+)", text)
            self.assertEqual(listed, OPTIONS[command].split() + ["help"], command)
            self.assertTrue(text.startswith(f"Usage: llmgpu {command} "))
            self.assertLessEqual(max(map(len, text.splitlines())), 110)

    def test_is_the_same_however_asked(self):
        for command in COMMANDS:
            text = self.good(command, "--help")
            self.assertEqual(text, self.good("help", command))
            flag = "--check" if command == "chat" else "--json"
            self.assertEqual(text, self.good(command, flag, "-h"))

    def test_states_defaults_and_ranges(self):
        text = " ".join(self.good("run", "--help").split())
        self.assertIn("(-1 or more, default 128)", text)
        self.assertIn("(0 .. 100, default 0)", text)
        self.assertIn("(default auto)", text)

    def test_version(self):
        self.assertRegex(self.good("--version"), r"^llmgpu \d+\.\d+\.\d+\n$")


class Mistakes(CommandTest):
    def test_nothing(self):
        result = self.llmgpu()
        self.assertEqual((result.status, result.out), (2, b""))
        self.assertIn("Usage:", result.err)

    def test_unknown_command(self):
        for word, nearest in (("runn", "run"), ("tokenise", "tokenize"), ("device", "devices"), ("--versoin", "--version")):
            self.assertIn(f"'{word}'", self.usage(word))
            self.assertIn(f"the nearest is '{nearest}'", self.usage(word))
        self.assertIn("'score'", self.usage("help", "scores"))

    def test_unknown_option(self):
        for command, word, nearest in (
            ("run", "--tmep", "--temp"),
            ("run", "--topk", "--top-k"),
            ("run", "--repeat_penalty=1.1", "--repeat-penalty"),
            ("run", "-model", "--model"),
            ("run", "--presence", "--presence-penalty"),
            ("chat", "--systen", "--system"),
            ("score", "--windows", "--window"),
            ("bench", "--jsno", "--json"),
            ("inspect", "--tensor", "--tensors"),
            ("devices", "--helf", "--help"),
            ("devices", "-x", None),
            ("run", "--" + "x" * 5000, None),
        ):
            message = self.usage(command, word)
            self.assertRegex(message, r"the nearest is '--?[\w-]+'")
            if nearest:
                self.assertIn(f"the nearest is '{nearest}'", message)

    def test_values(self):
        for args in (
            ("run", "-m"),
            ("run", "-m", "x", "--temp"),
            ("run", "--json=1"),
            ("run", "--temp", "abc"),
            ("run", "--temp", ""),
            ("run", "--temp="),
            ("run", "--temp", "nan"),
            ("run", "--temp", "inf"),
            ("run", "--temp", "1e999"),
            ("run", "--temp", "-0.1"),
            ("run", "--temp", "0x1"),
            ("run", "--temp", "1 "),
            ("run", "--top-p", "1.01"),
            ("run", "--min-p=-1"),
            ("run", "--top-k", "-1"),
            ("run", "--top-k", "1.5"),
            ("run", "--last-n", "257"),
            ("run", "--tokens-per-submit", "0"),
            ("run", "--repeat-penalty", "0"),
            ("run", "--seed", "-1"),
            ("run", "--seed", "18446744073709551616"),
            ("run", "-n", "-2"),
            ("run", "-n", "5x"),
            ("run", "-n", "99999999999999999999"),
            ("run", "--ctx", "+5"),
            ("run", "--ctx", " 5"),
            ("run", "-m", "x", "-p", "x", "--precision", "nope"),
            ("run", "-m", "x", "-p", "x", "--kv", "q4_1"),
            ("bench", "-r", "0"),
            ("score", "--window", "1"),
        ):
            message = self.usage(*args)
            self.assertIn("--", message)

    def test_arguments(self):
        self.assertIn("-m FILE", self.usage("run", "-p", "x"))
        self.assertIn("-m FILE", self.usage("bench"))
        self.assertIn("-m FILE", self.usage("chat"))
        self.assertIn("unexpected argument 'x'", self.usage("chat", "-m", "m", "x"))
        self.assertIn("unexpected argument 'x'", self.usage("devices", "x"))
        self.assertIn("unexpected argument 'x'", self.usage("run", "-m", "m", "x"))
        self.assertIn("unexpected argument", self.usage("inspect", "a", "b"))
        self.assertIn("-p TEXT", self.usage("run", "-m", "m"))
        self.assertIn("only one", self.usage("run", "-m", "m", "-p", "x", "-"))
        self.assertIn("only one", self.usage("run", "-m", "m", "-p", "x", "--ids", "1"))
        self.assertIn("one of", self.usage("score", "-m", "m"))
        self.assertIn("one of", self.usage("score", "-m", "m", "-f", "x", "--ids", "1 2"))
        self.assertIn("--logits", self.usage("score", "-m", "m", "-f", "x", "--logits", "o"))
        self.assertIn("nothing to measure", self.usage("bench", "-m", "m", "-p", "0", "-n", "0"))
        for command in ("inspect", "tokenize", "detokenize"):
            args = () if command == "inspect" else ("-m", "m")
            self.assertIn("needs", self.usage(command, *args))

    def test_ids(self):
        for ids in ("x", "1 x", "-1", "1.5", "2147483648", "1 2;3"):
            self.assertIn("token id", self.usage("run", "-m", "m", "--ids", ids))
            self.assertIn("token id", self.usage("detokenize", "-m", "m", "--", ids))
        for ids in ("", "  "):
            self.assertIn("no token", self.usage("run", "-m", "m", "--ids", ids))
            self.assertIn("fewer", self.usage("score", "-m", "m", "--ids", ids))
        self.assertIn("fewer", self.usage("score", "-m", "m", "--ids", "1"))


class Output(CommandTest):
    def test_full_disk_is_a_failure(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        for args in (["--version"], ["--help"], ["devices"]):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([PROGRAM, *args], stdout=full, stderr=subprocess.PIPE, timeout=60)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"(LLMGPU_E_IO)", done.stderr)

    def test_reader_that_left_is_a_failure(self):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([PROGRAM, "help", "run"], stdout=writer, stderr=subprocess.PIPE, timeout=60)
        os.close(writer)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"(LLMGPU_E_IO)", done.stderr)


if __name__ == "__main__":
    unittest.main()
