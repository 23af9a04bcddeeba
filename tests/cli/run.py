# SPDX-License-Identifier: MIT
"""llmgpu run."""
import fcntl
import os
import signal
import subprocess
import tempfile
import unittest

from command import MODEL, PROGRAM, PROMPT, CommandTest

RUN = ("run", "-m", MODEL, "--device", "cpu")


class Json(CommandTest):
    def test_keys(self):
        result = self.run_json("-p", PROMPT, "-n", "8")
        self.assertEqual(list(result), ["prompt_tokens", "tokens", "text", "timings", "device"])
        self.assertEqual(list(result["timings"]), ["load_s", "prompt_s", "decode_s", "tokens_per_second"])
        for seconds in result["timings"].values():
            self.assertGreater(seconds, 0)
        self.assertEqual(len(result["tokens"]), 8)
        self.assertTrue(result["text"])
        self.assertTrue(result["device"].startswith("cpu "))

    def test_prompt_tokens_are_those_of_tokenize(self):
        tokens = self.json("tokenize", "-m", MODEL, "--special", PROMPT)["tokens"]
        self.assertEqual(self.run_json("-p", PROMPT, "-n", "1")["prompt_tokens"], tokens)

    def test_text_is_that_of_the_tokens(self):
        result = self.run_json("-p", PROMPT, "-n", "200")
        whole = self.json("detokenize", "-m", MODEL, *result["tokens"])["text"]
        self.assertTrue(whole.startswith(result["text"]), (whole, result["text"]))
        self.assertNotIn("<|im_end|>", result["text"])

    def test_zero_tokens(self):
        result = self.run_json("-p", PROMPT, "-n", "0")
        self.assertEqual((result["tokens"], result["text"]), ([], ""))


class Text(CommandTest):
    def test_is_that_of_json(self):
        result = self.llmgpu(*RUN, "-p", PROMPT, "-n", "40")
        self.assertEqual(result.status, 0)
        text = self.run_json("-p", PROMPT, "-n", "40")["text"]
        self.assertEqual(result.out.decode(), text if text.endswith("\n") else text + "\n")

    def test_ends_with_speed_and_device(self):
        line = self.llmgpu(*RUN, "-p", PROMPT, "-n", "5").err.splitlines()[-1]
        self.assertRegex(line, r"^llmgpu: prompt \d+ tokens, [\d.]+ tokens/s; answer 5 tokens, [\d.]+ tokens/s; cpu ")

    def test_full_disk_is_a_failure(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, *RUN, "-p", PROMPT], stdout=full, stderr=subprocess.PIPE, timeout=240)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count(b"\n"), 1)
        self.assertIn(b"(LLMGPU_E_IO)", done.stderr)


class Sources(CommandTest):
    def test_all_give_the_same(self):
        direct = self.run_json("-p", PROMPT, "-n", "12")
        ids = " ".join(map(str, direct["prompt_tokens"]))
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(PROMPT)
            file.flush()
            others = [
                self.run_json("-f", file.name, "-n", "12"),
                self.run_json("-f", "-", "-n", "12", stdin=PROMPT),
                self.run_json("-", "-n", "12", stdin=PROMPT),
                self.run_json("--ids", ids, "-n", "12"),
                self.run_json("--ids=" + ids.replace(" ", ","), "--max-tokens=12"),
                self.run_json("-n", "12", "--prompt", PROMPT),
            ]
        for other in others:
            for key in ("prompt_tokens", "tokens", "text"):
                self.assertEqual(other[key], direct[key])

    def test_large_input(self):
        self.fails("LLMGPU_E_CONTEXT_FULL", *RUN, "-", stdin="word " * 100_000)


class Sampling(CommandTest):
    def tokens(self, *args):
        return self.run_json("-p", PROMPT, "-n", "32", *args)["tokens"]

    def test_greedy_repeats_itself(self):
        self.assertEqual(self.tokens(), self.tokens())
        self.assertEqual(self.tokens(), self.tokens("--seed", "7"))
        self.assertEqual(self.tokens(), self.tokens("--temp", "1", "--top-k", "1", "--seed", "7"))

    def test_the_seed_decides(self):
        draw = lambda seed: self.tokens("--temp", "1.5", "--seed", seed)
        self.assertEqual(draw(1), draw(1))
        self.assertGreater(len({tuple(draw(seed)) for seed in (1, 2, 3, 2**64 - 1)}), 1)

    def test_logit_biases(self):
        first = self.tokens()[0]
        self.assertEqual(set(self.tokens("--logit-bias", "65=1000")), {65})
        self.assertNotIn(first, self.tokens("--logit-bias", f"66=-0.5,{first}=-inf"))
        self.assertEqual(self.tokens(), self.tokens("--logit-bias", f"{first}=0"))
        for text in ("65", "65=", "=1", "65=1,", "65=1,,66=1", "65=x", "65=inf", "65=nan", "-1=1", "6.5=1", "65=1;66=1"):
            if text != "65=1,":
                self.assertIn("--logit-bias", self.usage(*RUN, "-p", PROMPT, "--logit-bias", text))
        for text in ("65=1,65=2", "65=1001", "99999999=1"):
            self.fails("LLMGPU_E_INVALID", *RUN, "-p", PROMPT, "--logit-bias", text)

    def test_cutting_the_work_changes_nothing(self):
        drawn = ("--temp", "1.5", "--seed", "5")
        for args in (("--batch", "7"), ("--tokens-per-submit", "8"), ("--threads", "1")):
            self.assertEqual(self.tokens(*drawn), self.tokens(*drawn, *args), args)


class Limits(CommandTest):
    def test_prompt_longer_than_the_context(self):
        self.fails("LLMGPU_E_CONTEXT_FULL", *RUN, "-p", PROMPT, "--ctx", "16")

    def test_a_full_context_ends_the_answer(self):
        n = len(self.run_json("-p", PROMPT, "-n", "0")["prompt_tokens"])
        result = self.llmgpu(*RUN, "-p", PROMPT, "-n", "-1", "--ctx", n + 3)
        self.assertEqual(result.status, 0, result.err)
        self.assertIn("the context is full", result.err)

    def test_id_outside_the_vocabulary(self):
        self.fails("LLMGPU_E_INVALID", *RUN, "--ids", "1 2147483647")

    def test_prompt_that_is_not_utf8(self):
        message = self.fails("LLMGPU_E_INVALID", *RUN, "-", stdin=b"abc\xff")
        self.assertIn("byte 3 ", message)
        for bad in (b"\xc0\x80", b"\xed\xa0\x80", b"\xe2\x82", b"\xf5\x80\x80\x80", b"\x80"):
            self.fails("LLMGPU_E_INVALID", *RUN, "-", stdin=bad)


class Interrupt(CommandTest):
    def interrupted(self, *args):
        """Starts a long run, sends SIGINT after its first byte, and gives status and outputs."""
        child = subprocess.Popen(
            [PROGRAM, *RUN, "-p", PROMPT, "-n", "-1", "--ctx", "4096", "--temp", "100", "--seed", "1", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        # With a small pipe a program that ignores the signal blocks and does not just come to its end.
        fcntl.fcntl(child.stdout, getattr(fcntl, "F_SETPIPE_SZ", 1031), 4096)
        first = os.read(child.stdout.fileno(), 1)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=240)
        return child.returncode, first + out, err.decode()

    def test_stops_cleanly(self):
        status, out, err = self.interrupted()
        self.assertEqual(status, 130, err)
        self.assertTrue(out.endswith(b"\n"))
        out.decode("utf-8")
        self.assertRegex(err, r"(?m)^llmgpu: interrupted; prompt \d+ tokens, .* answer \d+ tokens")


class Devices(CommandTest):
    def test_every_listed_device_runs(self):
        for device in self.json("devices"):
            result = self.json("run", "-m", MODEL, "-p", PROMPT, "-n", "4", "--device", device["id"])
            self.assertEqual(len(result["tokens"]), 4)
            self.assertEqual(result["device"], f"{device['id']} {device['name']}")

    def test_unknown_device(self):
        for device in ("cuda", "vulkan:99", "vulkan:x", "vulkan:", "cpu:1", ""):
            message = self.fails("LLMGPU_E_NO_DEVICE", "run", "-m", MODEL, "-p", "x", "--device", device)
            self.assertIn("cpu", message)


if __name__ == "__main__":
    unittest.main()
