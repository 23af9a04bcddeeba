# SPDX-License-Identifier: MIT
"""llmgpu tokenize and detokenize."""
import json
import unittest

from command import MODEL, PROMPT, CommandTest

TEXTS = ("Hello", " Hello  world ", "caf\u00e9 \u4f60\u597d \U0001f600", "a\nb\r\n\tc", "x" * 3000, "--help", '"\\"', "")


class Tokens(CommandTest):
    def tokens(self, text, *args):
        # After "--" a text may begin with a dash.
        return json.loads(self.good("tokenize", "-m", MODEL, "--json", *args, "--", text))["tokens"]

    def test_round_trips(self):
        for text in TEXTS:
            tokens = self.tokens(text)
            self.assertEqual(self.tokens(text), tokens)
            if tokens:
                self.assertEqual(self.json("detokenize", "-m", MODEL, *tokens), {"text": text})
                self.assertEqual(self.good("detokenize", "-m", MODEL, " ".join(map(str, tokens))), text + "\n")

    def test_forms_and_sources_agree(self):
        for text in TEXTS:
            tokens = self.tokens(text)
            self.assertEqual(self.good("tokenize", "-m", MODEL, "--", text), " ".join(map(str, tokens)) + "\n")
            self.assertEqual(self.json("tokenize", "-m", MODEL, "-", stdin=text), {"tokens": tokens})

    def test_special(self):
        special, plain = self.tokens(PROMPT, "--special"), self.tokens(PROMPT)
        self.assertLess(len(special), len(plain))
        self.assertEqual(self.json("detokenize", "-m", MODEL, *plain)["text"], PROMPT)
        self.assertIn(PROMPT, self.json("detokenize", "-m", MODEL, *special)["text"])

    def test_ids_outside_the_vocabulary(self):
        for token in (2048, 2**31 - 1):
            self.fails("LLMGPU_E_INVALID", "detokenize", "-m", MODEL, "1", token)

    def test_text_that_is_not_utf8(self):
        self.assertIn("byte 1 ", self.fails("LLMGPU_E_INVALID", "tokenize", "-m", MODEL, "-", stdin=b"a\xff"))

    def test_nul_is_a_byte(self):
        tokens = self.json("tokenize", "-m", MODEL, "-", stdin=b"a\0b")["tokens"]
        self.assertEqual(self.json("detokenize", "-m", MODEL, *tokens)["text"], "a\0b")


if __name__ == "__main__":
    unittest.main()
