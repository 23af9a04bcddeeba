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
        "cpu_us_per_token", "peak_memory_bytes", "device_bytes", "device", "barriers_per_token",
        "dispatches_per_token", "device_peak_bytes", "depth", "repeats",
    ]
    PROFILE_KEYS = ["dispatch_us", "pass", "profile"]
    ROW_KEYS = [
        "kernel", "label", "phase", "calls", "us", "share", "bytes", "gigabytes_per_second", "bandwidth_share", "flops",
        "flops_per_second",
    ]
    ON_CPU = ("bench", "-m", MODEL, "--device", "cpu")
    CONTEXT = 512 # that the model was trained for

    def bench(self, *args):
        return self.json(*self.ON_CPU, "-r", "2", *args)

    def names(self, *args):
        return [row["test"] for row in self.bench(*args)]

    def test_json(self):
        prefill, decode = self.bench("-p", "40", "-n", "12")
        self.assertEqual((prefill["test"], decode["test"]), ("pp40", "tg12"))
        for test in (prefill, decode):
            self.assertEqual(list(test), self.KEYS)
            speed = test["tokens_per_second"]
            self.assertEqual(list(speed), ["median", "min", "max"])
            self.assertTrue(0 < speed["min"] <= speed["median"] <= speed["max"], speed)
            self.assertGreater(test["submits_per_token"], 0)
            self.assertGreater(test["cpu_us_per_token"], 0)
            self.assertGreater(test["peak_memory_bytes"], 1 << 20)
            self.assertGreaterEqual(test["device_peak_bytes"], test["device_bytes"])
            self.assertGreater(test["dispatches_per_token"], test["barriers_per_token"])
            self.assertEqual((test["depth"], test["repeats"]), (0, 2))
        self.assertIsNone(prefill["gigabytes_per_second"])
        self.assertIsNone(prefill["bandwidth_share"])
        self.assertGreater(decode["gigabytes_per_second"], 0)
        self.assertGreater(decode["bandwidth_share"], 0)
        # One token a pass, but forty in one.
        self.assertEqual(decode["dispatches_per_token"], round(decode["dispatches_per_token"]))
        self.assertGreater(decode["dispatches_per_token"], 20 * prefill["dispatches_per_token"])

    def test_sequences(self):
        for more in ((), ("--background",)):
            one, five = self.bench("--sequences", "1,5", "-p", "40", "-n", "4", *more)
            for test, n in ((one, 1), (five, 5)):
                self.assertEqual((test["sequences"], test["kv_pages"]), (n, 2 * n)) # of 32 tokens
                self.assertEqual(test["prompt_tokens_computed"], 39 * n)
                self.assertEqual(test["background"], bool(more))
                self.assertTrue(0 <= test["idle_share"] < 1, test)
                self.assertAlmostEqual(test["per_stream"] * n, test["tokens_per_second"]["median"], delta=1)

    def test_chosen_alone(self):
        self.assertEqual(self.names("-p", "0", "-n", "4"), ["tg4"])
        self.assertEqual(self.names("-p", "4", "-n", "0"), ["pp4"])
        self.assertEqual(self.names("-n", "4"), ["pp512", "tg4"])

    def test_lists(self):
        args = ("-p", "8,3", "-n", "4,2", "--depth", "0,20,7")
        self.assertEqual(self.names(*args), [
            "pp8", "pp3", "tg4", "tg4 @ d20", "tg4 @ d7", "tg2", "tg2 @ d20", "tg2 @ d7",
        ])
        for text in ("", ",", "4,", ",4", "4 5", "-1", "1e2", "99999999", "1048577", "123456789012345678901", "x",
                     ",".join(["1"] * 33)):
            for option in ("--prompt-tokens", "--decode-tokens", "--depth"):
                self.assertIn(option, self.usage(*self.ON_CPU, f"{option}={text}"))
        many = ",".join(["1"] * 32)
        self.assertIn("64 tests", self.usage(*self.ON_CPU, "-p", many, "-n", "1,2", "--depth", many))

    def test_depth_is_in_the_context(self):
        """A pass at a depth attends to what is there: its profile says how many bytes of keys and values."""
        rows = self.bench("-p", "0", "-n", "2", "--depth", "0,100,300", "--profile")
        read = [sum(row["bytes"] for row in test["profile"]) for test in rows]
        self.assertEqual([test["pass"]["depth"] for test in rows], [0, 100, 300])
        self.assertEqual([test["depth"] for test in rows], [0, 100, 300])
        self.assertGreater(read[1], read[0])
        self.assertEqual(2 * (read[1] - read[0]), read[2] - read[1])

    def test_what_has_no_room_is_left_out(self):
        result = self.llmgpu(*self.ON_CPU, "-r", "1", "-p", f"{self.CONTEXT},{self.CONTEXT + 1}", "-n", "2", "--depth",
                             f"{self.CONTEXT - 2},{self.CONTEXT - 1}")
        self.assertEqual(result.status, 0, result.err)
        text = result.out.decode()
        self.assertRegex(text, rf"(?m)^pp{self.CONTEXT} ")
        self.assertRegex(text, rf"(?m)^tg2 @ d{self.CONTEXT - 2} ")
        self.assertIn(f"left out: pp{self.CONTEXT + 1}, tg2 @ d{self.CONTEXT - 1}; ", text)
        message = self.fails("LLMGPU_E_INVALID", *self.ON_CPU, "-p", self.CONTEXT + 1, "-n", "0")
        self.assertIn(f"pp{self.CONTEXT + 1}: ", message)

    def check_start(self, load, first):
        self.assertEqual(list(load), [
            "test", "device_ms", "load_ms", "load_ms_min", "load_ms_max", "file_bytes", "gigabytes_per_second", "device",
        ])
        self.assertEqual((load["test"], load["file_bytes"]), ("load", os.path.getsize(MODEL)))
        self.assertTrue(0 < load["load_ms_min"] <= load["load_ms"] <= load["load_ms_max"], load)
        rate = 1e-6 * load["file_bytes"] / load["load_ms"]
        self.assertAlmostEqual(load["gigabytes_per_second"], rate, delta=1e-9 * rate)
        self.assertEqual(list(first), [
            "test", "prompt_tokens", "first_token_ms", "first_token_ms_min", "first_token_ms_max",
            "load_to_first_token_ms", "load_to_first_token_ms_min", "load_to_first_token_ms_max", "device",
        ])
        self.assertEqual((first["test"], first["prompt_tokens"]), ("ttft128", 128))
        self.assertTrue(0 < first["first_token_ms_min"] <= first["first_token_ms"] <= first["first_token_ms_max"], first)
        self.assertGreater(first["load_to_first_token_ms"], first["first_token_ms_min"])

    def test_load(self):
        load, first, decode = self.bench("-p", "0", "-n", "2", "--load")
        self.check_start(load, first)
        self.assertEqual(decode["test"], "tg2")
        self.check_start(*self.bench("-p", "0", "-n", "0", "--load"))

    def test_all(self):
        """What is measured when nothing is said; of that, what fits into this model's context."""
        load, first, *tests = self.json(*self.ON_CPU)
        self.check_start(load, first)
        self.assertEqual([test["test"] for test in tests], ["pp16", "pp64", "pp512", "tg128"])
        for test in tests:
            self.assertTrue(1 <= test["repeats"] <= 5, test)

    def test_profile(self):
        for test in self.bench("-p", "40", "-n", "4", "--profile"):
            decodes = test["test"] == "tg4"
            self.assertEqual(list(test), self.KEYS + self.PROFILE_KEYS)
            self.assertTrue(0 < test["dispatch_us"] < 1000, test["dispatch_us"])
            whole, rows = test["pass"], test["profile"]
            self.assertEqual((whole["tokens"], whole["depth"]), (1, 0) if decodes else (40, 0))
            self.assertGreater(whole["dispatches"], whole["barriers"])
            self.assertEqual(sum(row["calls"] for row in rows), whole["dispatches"])
            self.assertAlmostEqual(sum(row["share"] for row in rows), 1, places=6)
            self.assertAlmostEqual(sum(row["us"] for row in rows), whole["kernels_us"], places=3)
            # Medians of each dispatch against that of the pass, on a machine that may be busy.
            self.assertTrue(whole["us"] / 10 < whole["kernels_us"] < whole["us"] * 3, whole)
            self.assertEqual([row["us"] for row in rows], sorted((row["us"] for row in rows), reverse=True))
            self.assertGreater(sum(row["bytes"] for row in rows), 3_000_000) # all weights of 3.7 M
            self.assertGreater(sum(row["flops"] or 0 for row in rows), 5_000_000 * whole["tokens"])
            for row in rows:
                self.assertEqual(list(row), self.ROW_KEYS)
                self.assertEqual(row["phase"], "decode" if decodes else "prefill")
                self.assertTrue(row["kernel"] and row["label"] and row["calls"] > 0, row)

    def test_table(self):
        text = self.good(*self.ON_CPU, "-r", "1", "-p", "8", "-n", "4", "--load", "--profile")
        self.assertRegex(text, r"(?m)^pp8 ")
        self.assertRegex(text, r"(?m)^tg4 .* \d+\.\d%")
        self.assertRegex(text, r"(?m)^load +[\d.]+ ms .* GB/s")
        self.assertRegex(text, r"(?m)^first token +[\d.]+ ms .* 128 tokens")
        self.assertIn("peak memory", text)
        self.assertRegex(text, r"(?m)^dispatch and barrier: [\d.]+ us$")
        self.assertRegex(text, r"(?m)^pp8: a prefill pass of 8 after 0: ")
        self.assertRegex(text, r"(?m)^tg4: a decode pass of 1 after 0: ")
        self.assertRegex(text, r"(?m)^\w+ +\w+ +\d+ +[\d.]+ +[\d.]+% +\d+ ")


if __name__ == "__main__":
    unittest.main()
