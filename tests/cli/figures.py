# SPDX-License-Identifier: MIT
"""llmgpu score and bench."""
import math
import os
import struct
import tempfile
import unittest

from command import MODEL, PROMPT, CommandTest

SCORE = ("score", "-m", MODEL, "--device", "cpu")
TEXT = "Good morning. I am Brenna, the blacksmith of Oakford. What do you want? " * 20


def log_softmax(row, token):
    top = max(row)
    return row[token] - top - math.log(sum(math.exp(x - top) for x in row))


class Score(CommandTest):
    def test_keys(self):
        result = self.json(*SCORE, "-f", "-", "--window", "32", stdin=TEXT)
        self.assertEqual(list(result), ["tokens", "scored", "windows", "nll", "perplexity"])
        tokens = self.json("tokenize", "-m", MODEL, "--special", TEXT)["tokens"]
        self.assertEqual(result["windows"], len(tokens) // 32)
        self.assertEqual((result["tokens"], result["scored"]), (len(tokens), len(tokens) // 32 * 31))
        self.assertAlmostEqual(result["perplexity"], math.exp(result["nll"]), places=9)
        self.assertRegex(self.good(*SCORE, "-f", "-", "--window", "32", stdin=TEXT), r"perplexity [\d.]+\n$")

    def test_windows_are_independent(self):
        tokens = self.json("tokenize", "-m", MODEL, TEXT)["tokens"][:64]
        ids = lambda part: " ".join(map(str, part))
        both = self.json(*SCORE, "--ids", ids(tokens), "--window", "32")
        halves = [self.json(*SCORE, "--ids", ids(part)) for part in (tokens[:32], tokens[32:])]
        self.assertEqual((both["windows"], both["scored"]), (2, 62))
        self.assertAlmostEqual(both["nll"], (halves[0]["nll"] + halves[1]["nll"]) / 2, places=6)

    def test_what_is_left_over_is_not_scored(self):
        tokens = self.json("tokenize", "-m", MODEL, TEXT)["tokens"][:40]
        whole, cut = (
            self.json(*SCORE, "--ids", " ".join(map(str, part)), "--window", "32") for part in (tokens, tokens[:32])
        )
        self.assertEqual((whole.pop("tokens"), cut.pop("tokens")), (40, 32))
        self.assertEqual(whole, cut)

    def test_logits_give_the_nll(self):
        tokens = self.json("tokenize", "-m", MODEL, "--special", PROMPT)["tokens"]
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "logits.bin")
            args = ("--ids", " ".join(map(str, tokens)), "--logits", path, "--window", "16")
            result = self.json(*SCORE, *args)
            with open(path, "rb") as file:
                data = file.read()
        self.assertEqual((result["windows"], result["scored"]), (1, len(tokens) - 1))
        n_vocab = self.json("inspect", MODEL)["metadata"]["tokenizer.ggml.tokens"]["count"]
        self.assertEqual(len(data), 4 * n_vocab * len(tokens))
        rows = [struct.unpack_from(f"<{n_vocab}f", data, 4 * n_vocab * i) for i in range(len(tokens))]
        nll = -sum(log_softmax(row, token) for row, token in zip(rows, tokens[1:])) / (len(tokens) - 1)
        self.assertAlmostEqual(result["nll"], nll, places=4)

    def test_one_id(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "logits.bin")
            result = self.json(*SCORE, "--ids", "1", "--logits", path)
        self.assertEqual(result, {"tokens": 1, "scored": 0, "windows": 1, "nll": None, "perplexity": None})

    def test_failures(self):
        self.assertIn("window", self.fails("LLMGPU_E_INVALID", *SCORE, "-f", "-", stdin="short"))
        self.fails("LLMGPU_E_INVALID", *SCORE, "--ids", "1 2147483647")
        self.fails("LLMGPU_E_IO", *SCORE, "--ids", "1 2", "--logits", "/nonexistent/logits.bin")


class Bench(CommandTest):
    KEYS = [
        "test", "tokens_per_second", "gigabytes_per_second", "bandwidth_share", "submits_per_token",
        "cpu_us_per_token", "peak_memory_bytes", "device_bytes", "device",
    ]

    def bench(self, *args):
        return self.json("bench", "-m", MODEL, "--device", "cpu", "-r", "2", *args)

    def test_json(self):
        prefill, decode = self.bench("-p", "40", "-n", "12")
        self.assertEqual((prefill["test"], decode["test"]), ("pp40", "tg12"))
        for test in (prefill, decode):
            self.assertEqual(list(test), self.KEYS)
            speed = test["tokens_per_second"]
            self.assertEqual(list(speed), ["median", "min", "max"])
            self.assertTrue(0 < speed["min"] <= speed["median"] <= speed["max"], speed)
            self.assertGreater(test["submits_per_token"], 0)
            self.assertGreater(test["peak_memory_bytes"], 1 << 20)
        self.assertIsNone(prefill["gigabytes_per_second"])
        self.assertIsNone(prefill["bandwidth_share"])
        self.assertGreater(decode["gigabytes_per_second"], 0)
        self.assertGreater(decode["bandwidth_share"], 0)

    def test_one_test_alone(self):
        self.assertEqual([t["test"] for t in self.bench("-p", "0", "-n", "4")], ["tg4"])
        self.assertEqual([t["test"] for t in self.bench("-p", "4", "-n", "0")], ["pp4"])

    def test_table(self):
        text = self.good("bench", "-m", MODEL, "--device", "cpu", "-r", "1", "-p", "8", "-n", "4")
        self.assertRegex(text, r"(?m)^pp8 ")
        self.assertRegex(text, r"(?m)^tg4 .* \d+\.\d%")
        self.assertIn("peak memory", text)


if __name__ == "__main__":
    unittest.main()
