#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How fast PyTorch trains a LoRA adapter over a frozen model of Qwen2.5-0.5B's shape, with random weights: tokens of a whole step
(forth, back, AdamW) in a second, one sample of --ctx tokens a step. What `llmgpu train --no-recompute` is measured beside.

    torch_lora.py [--ctx N] [--rank N] [--threads N] [--steps N] [--dtype float32|bfloat16]
"""
import argparse
import math
import time

import torch
import torch.nn.functional as F

LAYERS, WIDTH, HEADS, KV, DIM, INNER, VOCAB = 24, 896, 14, 2, 64, 4864, 151936


class Linear(torch.nn.Module):
    """y = x W^T + b + 2 (x A^T) B^T, of which A and B learn."""

    def __init__(self, cols, rows, bias, rank, dtype):
        super().__init__()
        self.w = torch.nn.Parameter(torch.randn(rows, cols, dtype=dtype) * 0.02, requires_grad=False)
        self.bias = torch.nn.Parameter(torch.randn(rows, dtype=dtype) * 0.02, requires_grad=False) if bias else None
        self.a = torch.nn.Parameter(torch.randn(rank, cols) / math.sqrt(cols))
        self.b = torch.nn.Parameter(torch.zeros(rows, rank))

    def forward(self, x):
        added = F.linear(F.linear(x, self.a.to(x.dtype)), self.b.to(x.dtype))
        return F.linear(x, self.w, self.bias) + 2 * added


def norm(x):
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def attention(q, k, v):
    n = q.shape[1]
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
    scores = q @ k.transpose(1, 2) / math.sqrt(DIM) + torch.full((n, n), -math.inf, dtype=q.dtype).triu(1)
    return scores.softmax(-1) @ v


class Layer(torch.nn.Module):
    def __init__(self, rank, dtype):
        super().__init__()
        self.q = Linear(WIDTH, HEADS * DIM, True, rank, dtype)
        self.k = Linear(WIDTH, KV * DIM, True, rank, dtype)
        self.v = Linear(WIDTH, KV * DIM, True, rank, dtype)
        self.o = Linear(HEADS * DIM, WIDTH, False, rank, dtype)
        self.gate = Linear(WIDTH, INNER, False, rank, dtype)
        self.up = Linear(WIDTH, INNER, False, rank, dtype)
        self.down = Linear(INNER, WIDTH, False, rank, dtype)

    def forward(self, x, cos, sin):
        h = norm(x)
        q, k, v = (f(h).view(len(x), -1, DIM).transpose(0, 1) for f in (self.q, self.k, self.v))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = (z.repeat_interleave(HEADS // KV, 0) for z in (k, v))
        x = x + self.o(attention(q, k, v).transpose(0, 1).reshape(len(x), -1))
        h = norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Model(torch.nn.Module):
    def __init__(self, rank, dtype):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(VOCAB, WIDTH, dtype=dtype) * 0.02, requires_grad=False)
        self.layers = torch.nn.ModuleList(Layer(rank, dtype) for _ in range(LAYERS))

    def forward(self, tokens):
        angles = torch.arange(len(tokens))[:, None] / 1e6 ** (torch.arange(DIM // 2) / (DIM // 2))
        x = self.table[tokens]
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return F.linear(norm(x), self.table)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ctx", type=int, default=256)
    p.add_argument("--rank", type=int, default=16)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--steps", type=int, default=4)
    p.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    model = Model(args.rank, getattr(torch, args.dtype))
    learns = [w for w in model.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(learns, lr=1e-4)
    print(f"torch {torch.__version__}, {args.dtype}, {args.threads} threads, {sum(w.numel() for w in learns)} parameters")
    best = 0
    for step in range(args.steps):
        tokens = torch.randint(VOCAB, (args.ctx + 1,))
        begin, cpu = time.perf_counter(), time.process_time()
        loss = F.cross_entropy(model(tokens[:-1]).float(), tokens[1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        best = max(best, args.ctx / seconds)
        print(f"step {step + 1}: loss {loss.item():.4f}, {args.ctx / seconds:.2f} tok/s, {args.ctx / cpu:.2f} a second of a thread")
    print(f"best {best:.2f} tok/s")


main()
