# SPDX-License-Identifier: MIT
"""The programs of examples/, whose folder is LLMGPU_EXAMPLES: what they answer is what `llmgpu run` answers."""
import os
import re
import subprocess
import unittest

from command import MODEL, PROMPT, SYSTEM, CommandTest, Result, chatml

FOLDER = os.environ["LLMGPU_EXAMPLES"]


class ExampleTest(CommandTest):
    def example(self, name, *args, stdin=""):
        done = subprocess.run([os.path.join(FOLDER, name), *args], input=stdin, capture_output=True, text=True,
                              cwd=os.path.join(os.path.dirname(MODEL), "..", ".."), timeout=240)
        return Result(done.returncode, done.stdout, done.stderr)

    def answers(self, name, *args, stdin=""):
        """The output of a program that succeeds without a word on the standard error."""
        result = self.example(name, *args, stdin=stdin)
        self.assertEqual((result.status, result.err), (0, ""), result.out)
        return result.out

    def tells(self, name):
        """Failures are the library's sentences with the name of the code, and nothing else is printed."""
        for args, code, word in ((("none.gguf",), "LLMGPU_E_IO", "none.gguf"), ((MODEL, "cuda"), "LLMGPU_E_NO_DEVICE", "cuda")):
            result = self.example(name, *args)
            self.assertEqual((result.status, result.out), (1, ""), result.err)
            self.assertRegex(result.err, rf"^{name}: .*{word}.* \({code}\)\n$")


class Hello(ExampleTest):
    def test_answers(self):
        expected = self.run_json("-p", PROMPT)["text"] + "\n"
        self.assertEqual(self.answers("hello", MODEL, "cpu"), expected)
        self.assertTrue(self.answers("hello"))  # the bundled model, the best device

    def test_failures(self):
        self.tells("hello")


class Chat(ExampleTest):
    def test_converses(self):
        first = self.run_json("-p", PROMPT)["text"]
        second = self.run_json("-p", chatml(SYSTEM, "Who are you?", first, "What do you sell?"))["text"]
        out = self.answers("chat", MODEL, "cpu", stdin="Who are you?\nWhat do you sell?\n")
        self.assertEqual(out.splitlines(), [first, second])

    def test_begins_anew_when_the_context_is_full(self):
        first = self.run_json("-p", PROMPT)["text"]
        result = self.example("chat", MODEL, "cpu", stdin="Who are you?\n" + "word " * 600 + "\nWho are you?\n")
        self.assertEqual((result.status, result.out.splitlines()), (0, [first, first]), result.err)
        self.assertRegex(result.err, r"^chat: .* \(LLMGPU_E_CONTEXT_FULL\)\nchat: we begin anew\n$")

    def test_no_lines(self):
        self.assertEqual(self.answers("chat"), "")

    def test_failures(self):
        self.tells("chat")


class StreamPull(ExampleTest):
    def test_answers_twice(self):
        text = self.run_json("-p", PROMPT)["text"]
        lines = self.answers("stream_pull", MODEL, "cpu").splitlines()
        self.assertEqual((lines[0], lines[2], len(lines)), (text, text, 4), lines)
        self.assertRegex(lines[1], r"^-- [1-9]\d* frames were drawn meanwhile$")
        self.assertRegex(lines[3], r"^-- \d+ frames were drawn, and the loop was woken [1-9]\d* times$")

    def test_failures(self):
        self.tells("stream_pull")


class Batch(ExampleTest):
    def test_the_same_at_once(self):
        lines = self.answers("batch", MODEL, "cpu").splitlines()
        self.assertEqual(len(lines), 24 * 2 + 3, lines)
        self.assertEqual(lines[:2], ["Brenna. You are the blacksmith: Who are you?", "    I am Brenna."])
        self.assertRegex(lines[-3], r"^one by one:  [1-9]\d* tokens, [1-9]\d* tok/s$")
        self.assertRegex(lines[-2], r"^24 at once: [1-9]\d* tokens, [1-9]\d* tok/s$")
        self.assertEqual(lines[-1], "the answers are the same")

    def test_failures(self):
        self.tells("batch")


class BestOfN(ExampleTest):
    def test_takes_the_best(self):
        out = self.answers("agents_best_of_n", MODEL, "cpu")
        lines = out.splitlines()
        self.assertEqual(len(lines), 9, out)
        self.assertGreater(len(set(lines[:8])), 4)
        best = max(float(line.split()[0]) for line in lines[:8])
        self.assertEqual(float(lines[8].split()[1]), best)
        self.assertIn("  " + lines[8].removeprefix("best: "), lines[:8])
        self.assertEqual(self.answers("agents_best_of_n", MODEL, "cpu"), out)  # by its seeds

    def test_failures(self):
        self.tells("agents_best_of_n")


class Debate(ExampleTest):
    def test_argues(self):
        out = self.answers("agents_debate", MODEL, "cpu")
        lines = out.splitlines()
        self.assertEqual([line.split(":")[0] for line in lines if line[0] not in "-t"], ["Brenna", "Tom"] * 3, out)
        self.assertEqual(lines[-2], "-- 5 messages were delivered, 1 wait")
        points = re.match(r"the judge: Brenna (-\d+\.\d+), Tom (-\d+\.\d+): (\w+)$", lines[-1])
        self.assertTrue(points, out)
        self.assertEqual(points[3], "Tom" if float(points[2]) > float(points[1]) else "Brenna")
        self.assertEqual(self.answers("agents_debate", MODEL, "cpu"), out)

    def test_failures(self):
        self.tells("agents_debate")


class Swarm(ExampleTest):
    def test_hands_out_and_joins(self):
        out = self.answers("agents_swarm", MODEL, "cpu")
        lines = out.splitlines()
        self.assertEqual(len(lines), 6 * 3 + 2, out)
        for i in range(0, 18, 3):
            price = re.match(r"    \[price [^\]]*?(\d+)[^\]]*\] (\d+) coins, with the discount (\d+)$", lines[i + 1])
            roll = re.match(r"    \[roll [^\]]*\] a die with (\d+) sides shows (\d+)$", lines[i + 1])
            self.assertTrue(price or roll, lines[i + 1])
            if price:  # what the model wrote is what the function was given
                self.assertEqual((price[1], int(price[3])), (price[2], int(price[1]) - int(price[1]) // 10))
        self.assertRegex(lines[-2], r"^the coordinator, of [1-9]\d+ tokens of reports: .")
        self.assertEqual(lines[-1], "13 requests, 12 messages")
        self.assertEqual(self.answers("agents_swarm", MODEL, "cpu"), out)

    def test_failures(self):
        self.tells("agents_swarm")


class NpcDialogue(ExampleTest):
    def test_talks_and_acts(self):
        out = self.answers("npc_dialogue", MODEL, "cpu")
        lines = out.splitlines()
        said = dict(zip(lines[0:18:2], lines[1:18:2]))
        self.assertEqual((len(said), len(lines)), (9, 20), out)
        for question, line in said.items():
            name = re.match(r" *\d+  You to (\w+): .*[?.]$", question)[1]
            self.assertRegex(line, rf'^ +{name} (slams a fist: "Bah|laughs: "Ha|nods: "Good|frowns: "Hmph)')
        self.assertRegex(lines[18], r"^[1-9]\d* frames, a step took \d+ us in half .* and \d+ us at the 99th per cent, of 2000 ")
        self.assertRegex(lines[19], r"^[1-9]\d* tokens of prompts were computed, [1-9]\d* were the same as another's$")

    def test_failures(self):
        self.tells("npc_dialogue")


if __name__ == "__main__":
    unittest.main()
