# SPDX-License-Identifier: MIT
"""llmgpu train: what becomes of data, what a run leaves behind, and that a run which was stopped is the run that was not."""
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest
import xml.dom.minidom

from command import MODEL, PROGRAM, PROMPT, CommandTest, chatml

ANSWERS = ["Arr! I be Brenna.", "Aye, a blade.", "Nay.", "Blow me down! Ye be late, and th' forge be cold."]


def conversation(*texts):
    roles = ("user", "assistant") * len(texts)
    return {"messages": [{"role": role, "content": text} for role, text in zip(roles, texts)]}


class TrainTest(CommandTest):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def write(self, name, *lines, end="\n"):
        with open(self.path(name), "wb") as file:
            file.write(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines) + end.encode())
        return self.path(name)

    def samples(self, name="data.jsonl", n=12):
        return self.write(name, *[conversation(f"Who are you, {i}?", ANSWERS[i % 4] * (1 + i % 3)) for i in range(n)])

    def command(self, *args):
        return ("train", "-m", MODEL, "--device", "cpu", "-c", "64", "--rank", "4", "--lr", "0.01", *args)

    def rows(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        for row in rows:
            self.assertGreater(row.pop("tokens_per_second"), 0)
        return rows

    def bytes(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()


class DryRun(TrainTest):
    def tokens(self, text):
        return self.json("tokenize", "-m", MODEL, "--special", text)["tokens"]

    def dry(self, *args):
        return self.json(*self.command("--dry-run", "--show", "100", *args))

    def test_shapes(self):
        data = self.write(
            "shapes.jsonl", conversation("Who?", "Me.", "Why?", "So."), {"prompt": "Who?", "completion": "Me."},
            {"instruction": "Add.", "input": "1", "output": "2"}, {"text": "Once upon a time"},
            {"tokens": [5, 6, 7], "mask": [1, 0, 1]}, {"tokens": [5, 6, 7]})
        result = self.dry("--data", data)
        begin, middle = chatml("", "Who?"), chatml("", "Why?")
        expected = [
            [(begin, 0), ("Me.<|im_end|>", 1), ("\n" + middle, 0), ("So.<|im_end|>", 1), ("\n", 0)],
            [(begin, 0), ("Me.<|im_end|>", 1), ("\n", 0)],
            [(chatml("", "Add.\n\n1"), 0), ("2<|im_end|>", 1), ("\n", 0)],
        ]
        for sample, parts in zip(result["shown"], expected):
            tokens, mask = [], []
            for text, counts in parts:
                tokens += self.tokens(text)
                mask += [counts] * len(self.tokens(text))
            self.assertEqual((sample["tokens"], sample["mask"]), (tokens, mask))
        text = result["shown"][3]
        self.assertEqual(text["tokens"][:-1], self.tokens("Once upon a time"))
        self.assertEqual(text["mask"], [1] * len(text["tokens"]))
        self.assertEqual((result["shown"][4]["tokens"], result["shown"][4]["mask"]), ([5, 6, 7], [1, 0, 1]))
        self.assertEqual(result["shown"][5]["mask"], [1, 1, 1])
        self.assertEqual([s["line"] for s in result["shown"]], [1, 2, 3, 4, 5, 6])
        self.assertEqual((result["samples"], result["bad_lines"], result["cut"]), (6, 0, 0))
        for sample in self.dry("--data", data, "--loss-on", "all")["shown"]:
            self.assertEqual(sample["mask"], [1] * len(sample["tokens"]))
        plain = self.dry("--data", data, "--plain")["shown"][1]
        self.assertEqual(plain["tokens"][:-1], self.tokens("Who?") + self.tokens("Me."))

    def test_text(self):
        data = self.write("data.jsonl", conversation("Who?", "Me."), {"tokens": list(range(300, 400))})
        text = self.good(*self.command("--dry-run", "--data", data))
        self.assertIn("  . <|im_start|>user\\nWho?<|im_end|>\\n<|im_start|>assistant\\n\n  + Me.<|im_end|>\n  . \\n\n", text)
        self.assertIn("data.jsonl:2: 65 tokens, of which 64 count; 35 were cut off\n", text)
        self.assertIn("1 samples are cut and lose 35 tokens", text)

    def test_files_and_lines(self):
        one = self.write("one.jsonl", {"tokens": [1, 2]}, b"", {"tokens": [3, 4]}, end="")
        two = self.write("two.jsonl", b'{"tokens": [5, 6]}\r', b"nonsense", {"tokens": [7, 8]})
        empty = self.write("empty.jsonl", end="")
        result = self.dry("--data", one, "--data", empty, "--data", two)
        self.assertEqual([(os.path.basename(s["file"]), s["line"]) for s in result["shown"]],
                         [("one.jsonl", 1), ("one.jsonl", 3), ("two.jsonl", 1), ("two.jsonl", 3)])
        self.assertEqual((result["lines"], result["samples"], result["bad_lines"]), (6, 4, 1))
        self.assertIn("two.jsonl:2: ", self.fails("LLMGPU_E_FORMAT", *self.command("--dry-run", "--data", two, "--bad-lines", "fail")))
        self.fails("LLMGPU_E_FORMAT", *self.command("--dry-run", "--data", empty))
        self.fails("LLMGPU_E_IO", *self.command("--dry-run", "--data", self.path("none")))
        self.assertIn("no line", self.fails("LLMGPU_E_FORMAT", *self.command("--dry-run", "--data", self.write("x", b"{}", b"[1]"))))

    def test_steps(self):
        data = self.write("data.jsonl", *[{"tokens": [1] * 17} for _ in range(20)])
        for args, steps in ((("--no-pack",), 20), (("--no-pack", "--batch", "2"), 10), ((), 5), (("--epochs", "3"), 15),
                            (("--accumulate", "2"), 3), (("--steps", "7"), 7)):
            self.assertEqual(self.dry("--data", data, *args)["steps"], steps, args)


class Mistakes(TrainTest):
    def test_options(self):
        for args in ((), ("--data", "x"), ("-o", "x"), ("--data", "x", "-o", "y", "--targets", "q,w"),
                     ("--data", "x", "-o", "y", "--schedule", "wave"), ("--data", "x", "-o", "y", "--optimizer", "adam"),
                     ("--data", "x", "-o", "y", "--loss-on", "some"), ("--data", "x", "-o", "y", "--bad-lines", "tell"),
                     ("--data", "x", "-o", "y", "--val", "z", "--val-split", "0.1"), ("--data", "x", "-o", "y", "--early-stop", "2"),
                     ("--data", "x", "-o", "y", "--full", "--init", "z"), ("--data", "x") * 65):
            self.usage("train", "-m", "x", *args)

    def test_data_are_not_written_over(self):
        data, val, out = self.samples(), self.samples("val.jsonl"), self.path("a.gguf")
        before = self.bytes("data.jsonl"), self.bytes("val.jsonl")
        for args in (("-o", data), ("-o", val), ("-o", MODEL), ("-o", out, "--metrics", data)):
            self.assertIn("written over", self.usage(*self.command("--data", data, "--val", val, *args)))
        self.assertEqual((self.bytes("data.jsonl"), self.bytes("val.jsonl")), before)

    def test_resume_from_nothing(self):
        self.fails("LLMGPU_E_IO", *self.command("--data", self.samples(), "-o", self.path("a.gguf"), "--resume"))


class Runs(TrainTest):
    def train(self, name, *args):
        return self.json(*self.command("--data", self.samples(), "-o", self.path(name + ".gguf"), "--metrics",
                                       self.path(name + ".jsonl"), *args))

    def test_leaves_its_results(self):
        result = self.train("a", "--steps", "8", "--val", self.samples("val.jsonl", 4), "--eval-every", "4", "--warmup", "2")
        rows = self.rows("a.jsonl")
        self.assertEqual([row["step"] for row in rows], list(range(1, 9)))
        self.assertEqual(["val_loss" in row for row in rows], [False] * 3 + [True] + [False] * 3 + [True])
        self.assertAlmostEqual(rows[0]["lr"], 0.005, places=6)
        self.assertAlmostEqual(rows[1]["lr"], 0.01, places=6)
        self.assertLess(rows[-1]["lr"], 0.002)
        self.assertLess(result["val_loss"], 0.7 * result["val_loss_before"])
        self.assertEqual((result["steps"], result["loss"], result["output"]), (8, rows[-1]["loss"], self.path("a.gguf")))
        self.assertEqual((result["val_loss"], result["best_step"]), (rows[-1]["val_loss"], 8))
        xml.dom.minidom.parseString(self.bytes("a.svg"))
        self.assertEqual(self.bytes("a.best.gguf"), self.bytes("a.gguf"))
        self.assertFalse([name for name in os.listdir(self.folder.name) if "tmp" in name])
        plain = self.run_json("-p", PROMPT, "-n", "20")
        adapted = self.run_json("-p", PROMPT, "-n", "20", "--lora", self.path("a.gguf"))
        self.assertNotEqual(plain["tokens"], adapted["tokens"])

    def test_goes_on_to_the_bit(self):
        args = ("--steps", "9", "--val-split", "0.25", "--eval-every", "3", "--accumulate", "2", "--checkpoint-every", "2")
        whole = self.train("whole", *args)
        first = subprocess.Popen([PROGRAM, *self.command("--data", self.samples(), "-o", self.path("parts.gguf"), "--metrics",
                                                         self.path("parts.jsonl"), *args)], stderr=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while not os.path.exists(self.path("parts.ckpt")) and time.monotonic() < end:
            time.sleep(0.005)
        first.kill()
        first.wait()
        self.assertTrue(os.path.exists(self.path("parts.ckpt")))
        parts = self.train("parts", *args, "--resume")
        self.assertGreaterEqual(parts["steps_before"], 2)
        self.assertEqual(self.rows("parts.jsonl"), self.rows("whole.jsonl"))
        self.assertEqual(self.bytes("parts.gguf"), self.bytes("whole.gguf"))
        self.assertEqual((parts["loss"], parts["best_val_loss"]), (whole["loss"], whole["best_val_loss"]))

    def test_is_interrupted(self):
        args = ("--steps", "2000", "--metrics", self.path("a.jsonl"), "--data", self.samples(), "-o", self.path("a.gguf"))
        process = subprocess.Popen([PROGRAM, *self.command(*args)], stderr=subprocess.PIPE)
        end = time.monotonic() + 120
        while not (os.path.exists(self.path("a.jsonl")) and self.bytes("a.jsonl")) and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=60)[1].decode()
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("--resume", err)
        self.assertFalse(os.path.exists(self.path("a.gguf")))
        done = len(self.rows("a.jsonl"))
        self.assertGreater(done, 0)
        result = self.json(*self.command(*args), "--resume", "--steps", str(done + 2))
        self.assertEqual((result["steps_before"], result["steps"]), (done, done + 2))
        self.assertEqual([row["step"] for row in self.rows("a.jsonl")], list(range(1, done + 3)))

    def test_stops_early(self):
        result = self.train("a", "--steps", "50", "--lr", "0", "--val-split", "0.3", "--eval-every", "1", "--early-stop", "3")
        self.assertTrue(result["stopped_early"])
        self.assertEqual((result["steps"], result["best_step"]), (3, 0))
        self.assertFalse(os.path.exists(self.path("a.best.gguf")))


if __name__ == "__main__":
    unittest.main()
