#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Trains a byte-level BPE tokenizer (Sennrich et al. 2016) and encodes with it.

GPT-2's byte alphabet, the pre-tokenizer expression of 'qwen2'. Ids: 0 to 255 the byte symbols in GPT-2's order, then the
merges, then the three control tokens."""
import argparse
import collections
import json
import re

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# \p{L} is written [^\W\d_], \p{N} is \d (the corpus is ASCII, so this is exact there)
PRE = re.compile(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|(?:[^\r\n\w]|_)?[^\W\d_]+|\d| ?(?:[^\s\w]|_)+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPLIT = re.compile("(" + "|".join(map(re.escape, SPECIALS)) + ")")


def byte_alphabet():
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    order, n = list(keep), 0
    chars = [chr(b) for b in keep]
    for b in range(256):
        if b not in keep:
            order.append(b)
            chars.append(chr(256 + n))
            n += 1
    return order, chars       # id i <-> byte order[i], written chars[i]


ORDER, CHARS = byte_alphabet()
BYTE_ID = {b: i for i, b in enumerate(ORDER)}


def train(path, vocab):
    words = collections.Counter()
    text = open(path, encoding="utf-8").read()
    for part in SPLIT.split(text):
        if part not in SPECIALS:
            words.update(PRE.findall(part))
    items = sorted(words.items())
    seqs = [[BYTE_ID[b] for b in w.encode()] for w, _ in items]
    cnt = [c for _, c in items]
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, s in enumerate(seqs):
        for p in zip(s, s[1:]):
            pairs[p] += cnt[i]
            where[p].add(i)
    tokens, merges = list(CHARS), []
    while len(tokens) < vocab - len(SPECIALS):
        p = max(pairs, key=lambda q: (pairs[q], [-q[0], -q[1]]))
        new = len(tokens)
        tokens.append(tokens[p[0]] + tokens[p[1]])
        merges.append(tokens[p[0]] + " " + tokens[p[1]])
        for i in sorted(where.pop(p)):
            s, out, k = seqs[i], [], 0
            for q in zip(s, s[1:]):
                pairs[q] -= cnt[i]
                if pairs[q] <= 0:
                    del pairs[q]
                where[q].discard(i)
            while k < len(s):
                if k + 1 < len(s) and (s[k], s[k + 1]) == p:
                    out.append(new); k += 2
                else:
                    out.append(s[k]); k += 1
            seqs[i] = out
            for q in zip(out, out[1:]):
                pairs[q] += cnt[i]
                where[q].add(i)
        where.pop(p, None)
    return tokens + SPECIALS, merges, len(words)


class Tokenizer:
    def __init__(self, path):
        d = json.load(open(path, encoding="utf-8"))
        self.tokens, self.merges = d["tokens"], d["merges"]
        self.id = {t: i for i, t in enumerate(self.tokens)}
        self.rank = {}
        for r, m in enumerate(self.merges):
            a, b = m.split(" ")
            self.rank[(self.id[a], self.id[b])] = (r, self.id[a + b])
        self.eot, self.im_start, self.im_end = (self.id[s] for s in SPECIALS)
        self.bytes = {c: b for b, c in zip(ORDER, CHARS)}
        self.cache = {}

    def word(self, w):
        if w not in self.cache:
            s = [BYTE_ID[b] for b in w.encode()]
            while len(s) > 1:
                best = min(((self.rank[p][0], k) for k, p in enumerate(zip(s, s[1:])) if p in self.rank), default=None)
                if best is None:
                    break
                p = (s[best[1]], s[best[1] + 1])
                out, k = [], 0
                while k < len(s):
                    if k + 1 < len(s) and (s[k], s[k + 1]) == p:
                        out.append(self.rank[p][1]); k += 2
                    else:
                        out.append(s[k]); k += 1
                s = out
            self.cache[w] = s
        return self.cache[w]

    def encode(self, text, special=True):
        out = []
        for part in (SPLIT.split(text) if special else [text]):
            if special and part in SPECIALS:
                out.append(self.id[part])
            else:
                for w in PRE.findall(part):
                    out += self.word(w)
        return out

    def decode(self, ids):
        b = bytearray()
        for i in ids:
            t = self.tokens[i]
            b += t.encode() if t in SPECIALS else bytes(self.bytes[c] for c in t)
        return b.decode("utf-8", "replace")


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("text", help="what the merges are counted in")
    ap.add_argument("out", help="the tokenizer, a JSON file")
    ap.add_argument("--vocab", type=int, default=2048)
    a = ap.parse_args()
    tokens, merges, nw = train(a.text, a.vocab)
    assert len(tokens) == a.vocab and len(set(tokens)) == a.vocab
    json.dump(dict(tokens=tokens, merges=merges), open(a.out, "w", encoding="utf-8"), ensure_ascii=True, indent=0)
    t = Tokenizer(a.out)
    for s in ["Hello, world! It's 42 o'clock.\n\n  Two  spaces", open(a.text).read(200000), "na\u00efve caf\u00e9 \u2603 \U0001f600"]:
        assert t.decode(t.encode(s)) == s
    s = open(a.text).read(2000000)
    n = len(t.encode(s))
    print("words %d, tokens %d, merges %d, %.3f bytes/token" % (nw, len(tokens), len(merges), len(s) / n))
