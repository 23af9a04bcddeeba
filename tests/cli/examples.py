# SPDX-License-Identifier: MIT
"""The programs of examples/, whose folder is LLMGPU_EXAMPLES: what they answer is what `llmgpu run` answers."""
import os
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


if __name__ == "__main__":
    unittest.main()
