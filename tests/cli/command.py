# SPDX-License-Identifier: MIT
"""Runs the llmgpu command for the tests beside this file.

LLMGPU_COMMAND is the program, LLMGPU_BUNDLED the folder of the bundled model, LLMGPU_SHARED that of the shared data
("" where there is none).
"""
import json
import os
import subprocess
import unittest

PROGRAM = os.environ["LLMGPU_COMMAND"]
MODEL = os.path.join(os.environ["LLMGPU_BUNDLED"], "tavern-3.7m-q8_0.gguf")
SHARED = os.environ.get("LLMGPU_SHARED", "")
COMMANDS = ("run", "chat", "score", "bench", "train", "tokenize", "detokenize", "inspect", "devices", "quantize", "merge",
            "pacer")
SYSTEM = "Your name is Brenna. You are the blacksmith of Oakford. You are grumpy."


def chatml(system, *messages):
    """The prompt of questions and answers in turns, in the form the bundled model was trained on."""
    roles = ("user", "assistant") * len(messages)
    parts = ([("system", system)] if system else []) + list(zip(roles, messages))
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in parts) + "<|im_start|>assistant\n"


PROMPT = chatml(SYSTEM, "Who are you?")


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err


class CommandTest(unittest.TestCase):
    def llmgpu(self, *args, stdin=b"", env=None):
        done = subprocess.run(
            [PROGRAM, *map(str, args)],
            input=stdin if isinstance(stdin, bytes) else stdin.encode(),
            capture_output=True,
            env={**os.environ, **(env or {})},
            timeout=240,
        )
        return Result(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))

    def good(self, *args, stdin=b"", env=None):
        """The standard output of a call that succeeds."""
        result = self.llmgpu(*args, stdin=stdin, env=env)
        self.assertEqual(result.status, 0, f"{args}: {result.err}")
        return result.out.decode("utf-8")

    def json(self, *args, stdin=b""):
        """The value that a call with --json prints, and it prints nothing else."""
        return json.loads(self.good(*args, "--json", stdin=stdin))

    def run_json(self, *args, stdin=b""):
        return self.json("run", "-m", MODEL, "--device", "cpu", *args, stdin=stdin)

    def usage(self, *args, stdin=b""):
        """The message of a call that is a mistake in the command line."""
        result = self.llmgpu(*args, stdin=stdin)
        self.assertEqual((result.status, result.out), (2, b""), f"{args}: {result.err}")
        self.assertTrue(result.err.startswith("llmgpu: "), result.err)
        return result.err

    def fails(self, code, *args, stdin=b""):
        """The message of a call that fails: one sentence with its code, and no output."""
        result = self.llmgpu(*args, stdin=stdin)
        self.assertEqual((result.status, result.out), (1, b""), f"{args}: {result.err}")
        lines = result.err.splitlines()
        self.assertTrue(lines and lines[-1].startswith("llmgpu: "), result.err)
        self.assertTrue(lines[-1].endswith(f" ({code})"), f"{args}: {result.err}")
        self.assertGreater(len(lines[-1]), len(f"llmgpu:  ({code})") + 10, result.err)
        return lines[-1]
