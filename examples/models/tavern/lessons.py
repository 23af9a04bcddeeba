#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Cuts the corpus into the lessons the bundled model has, as samples for `llmgpu train`.

  copy.jsonl     tokens drawn at random and repeated; what counts is the repeats. Nothing can be learned here but to find
                 what stood behind the same token before (Olsson et al. 2022), which is what a small model lacks when it
                 invents facts instead of looking them up.
  drill.jsonl    short dialogues about the few facts of their persona; answers count. The same skill, in words.
  exam.jsonl     the same with all that a persona can say, two to four turns.
  train.jsonl    the whole corpus. Answers and stories count, and in every sixth dialogue everything: system prompts are
                 drawn at random, and a model that is mostly asked to foretell them learns what facts are likely in place
                 of reading those that are there.
  short.jsonl    dialogues of one or two turns, in the same way.
  val.jsonl      the validation text; everything counts.

A line is {"tokens":[...],"mask":[...]}. The same seed gives the same bytes."""
import argparse
import collections
import itertools
import json
import os
import random

import corpus
from tokenizer import Tokenizer

CONTEXT = 512


def line(ids, mask):
    return json.dumps({"tokens": ids, "mask": mask}, separators=(",", ":")) + "\n"


def documents(tokenizer, path):
    """Token ids of each document of a text, with its end; those longer than the context are left out."""
    with open(path, encoding="utf-8") as file:
        for text in file.read().split(corpus.EOT):
            ids = tokenizer.encode(text) + [tokenizer.eot]
            if text.strip() and len(ids) <= CONTEXT:
                yield ids


def answers(tokenizer, ids):
    """1 for each token of an answer and for its end, else 0."""
    begin = tokenizer.encode(corpus.IM_S + "assistant\n")
    mask, i = [0] * len(ids), 0
    while i < len(ids):
        if ids[i:i + len(begin)] == begin:
            i += len(begin)
            end = ids.index(tokenizer.im_end, i)
            mask[i:end + 1] = [1] * (end + 1 - i)
            i = end
        i += 1
    return mask


class Drill(corpus.Gen):
    """Dialogues that ask for what the persona says, and half of whose answers are nothing but that."""

    def weights(self, P, st, prev):
        asked = {intent for intent, fact in corpus.FACT_INTENTS.items() if P[fact]} | {"who"}
        weights = {k: w * (10 if k in asked else .3) for k, w in super().weights(P, st, prev).items()}
        weights["greet"] *= .5
        return weights

    def wrap(self, P, core, st, intent):
        return " ".join(x for x in core if x) if self.p(.5) else super().wrap(P, core, st, intent)


def drills(tokenizer, n, seed, short):
    gen = Drill(seed)
    while n:
        _, messages, _ = gen.dialogue(None if short else gen.c([2, 3, 4]), short)
        ids = tokenizer.encode(corpus.chatml(messages)) + [tokenizer.eot]
        if len(messages) > 1 and messages[0][0] == "system" and len(ids) <= CONTEXT:
            yield line(ids, answers(tokenizer, ids))
            n -= 1


def copies(counts, n, seed):
    """Sequences of 3 to 20 tokens, repeated once to twice; common tokens are drawn more often, by the root of how common
    they are, so that rare ones are met as well."""
    draw = random.Random(seed)
    tokens, weights = list(counts), [x ** .5 for x in counts.values()]
    for _ in range(n):
        length = draw.randint(3, 20)
        ids = (draw.choices(tokens, weights, k=length) * 3)[:2 * length + draw.randint(1, length)]
        yield line(ids, [0] * (length + 1) + [1] * (len(ids) - length - 1))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("folder", help="where corpus.py and tokenizer.py wrote, and the lessons go")
    ap.add_argument("--copies", type=int, default=60000)
    ap.add_argument("--drills", type=int, default=30000)
    ap.add_argument("--exams", type=int, default=20000)
    ap.add_argument("--seed", type=int, default=11)
    a = ap.parse_args()
    tokenizer = Tokenizer(os.path.join(a.folder, "tokenizer.json"))

    def write(name, lines):
        with open(os.path.join(a.folder, name + ".jsonl"), "w", encoding="ascii") as file:
            file.writelines(lines)

    def text(name, whole):
        for i, ids in enumerate(documents(tokenizer, os.path.join(a.folder, name + ".txt"))):
            everything = i % whole == 0 or ids[0] != tokenizer.im_start
            yield line(ids, [0] + [1] * (len(ids) - 1) if everything else answers(tokenizer, ids))

    counts = collections.Counter()
    for ids in itertools.islice(documents(tokenizer, os.path.join(a.folder, "train.txt")), 8000):
        counts.update(ids)
    write("copy", copies(counts, a.copies, a.seed))
    write("drill", drills(tokenizer, a.drills, a.seed + 1, True))
    write("exam", drills(tokenizer, a.exams, a.seed + 2, False))
    write("train", text("train", 6))
    write("short", text("train_short", 6))
    write("val", text("val", 1))


if __name__ == "__main__":
    main()
