# SPDX-License-Identifier: MIT
"""The C++ example: embed_cpp.py PROGRAM MODEL"""
import re
import subprocess
import sys
import unittest

PROGRAM, MODEL = sys.argv[1:3]


def run(model):
    return subprocess.run([PROGRAM, model], capture_output=True, text=True, timeout=120)


class Example(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.result = run(MODEL)
        print(cls.result.stdout)

    def test_ends_well(self):
        self.assertEqual((self.result.returncode, self.result.stderr), (0, ""))

    def test_converses(self):
        answers = re.findall(r"^> (.*)\n(.*)$", self.result.stdout, re.M)
        self.assertEqual([question for question, _ in answers], ["Who are you?", "What do you sell?"])
        for _, answer in answers:
            self.assertGreater(len(answer), 5)
            self.assertNotIn("<|", answer)
        tokens_in, tokens_out = map(int, re.search(r"^(\d+) tokens in, (\d+) out$", self.result.stdout, re.M).groups())
        self.assertGreater(tokens_in, 20)
        self.assertGreater(tokens_out, 10)

    def test_similarities(self):
        rows = re.findall(r"^ +(-?\d\.\d{3}) +(-?\d\.\d{3}) +(-?\d\.\d{3})  \S", self.result.stdout, re.M)
        matrix = [[float(cell) for cell in row] for row in rows]
        self.assertEqual(len(matrix), 3)
        for i in range(3):
            for j in range(3):
                self.assertEqual(matrix[i][j], matrix[j][i])
                self.assertTrue(matrix[i][j] == 1 if i == j else -1 < matrix[i][j] < 1)

    def test_catches(self):
        self.assertRegex(self.result.stdout, r"\ncaught LLMGPU_E_IO: .*no-such-file\.gguf")

    def test_fails(self):
        result = run("/nowhere/model.gguf")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"^LLMGPU_E_IO: .*/nowhere/model\.gguf")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
