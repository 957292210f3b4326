# SPDX-License-Identifier: Apache-2.0
"""The network: a Llama decoder, small. Names and conventions are GGUF's."""
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    vocab: int = 1024
    dim: int = 96
    layers: int = 3
    heads: int = 6
    kv_heads: int = 3
    ffn: int = 192
    context: int = 512
    theta: float = 10000.0
    eps: float = 1e-5

    @property
    def head(self):
        return self.dim // self.heads


class RMSNorm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        kv = c.kv_heads * c.head
        self.attn_norm = RMSNorm(c.dim, c.eps)
        self.attn_q = nn.Linear(c.dim, c.dim, bias=False)
        self.attn_k = nn.Linear(c.dim, kv, bias=False)
        self.attn_v = nn.Linear(c.dim, kv, bias=False)
        self.attn_output = nn.Linear(c.dim, c.dim, bias=False)
        self.ffn_norm = RMSNorm(c.dim, c.eps)
        self.ffn_gate = nn.Linear(c.dim, c.ffn, bias=False)
        self.ffn_up = nn.Linear(c.dim, c.ffn, bias=False)
        self.ffn_down = nn.Linear(c.ffn, c.dim, bias=False)

    def forward(self, x, rot, mask):
        c = self.c
        b, t, _ = x.shape
        h = self.attn_norm(x)
        q = rope(self.attn_q(h).view(b, t, c.heads, c.head), rot) * (1 / math.sqrt(c.head))
        k = rope(self.attn_k(h).view(b, t, c.kv_heads, c.head), rot)
        v = self.attn_v(h).view(b, t, c.kv_heads, c.head)
        g = c.heads // c.kv_heads
        # The g query heads of one key head are stacked along time, so that
        # keys and values need no copy.
        q = q.view(b, t, c.kv_heads, g, c.head).permute(0, 2, 3, 1, 4).reshape(b * c.kv_heads, g, t, c.head)
        k = k.transpose(1, 2).reshape(b * c.kv_heads, t, c.head)
        v = v.transpose(1, 2).reshape(b * c.kv_heads, t, c.head)
        out = []
        step = 128
        for s in range(0, t, step):
            e = min(s + step, t)
            qs = q[:, :, s:e].reshape(b * c.kv_heads, g * (e - s), c.head)
            m = mask[s:e, :e].repeat(g, 1)
            p = torch.softmax(torch.baddbmm(m, qs, k[:, :e].transpose(1, 2)), -1)
            out.append((p @ v[:, :e]).view(b, c.kv_heads, g, e - s, c.head))
        o = torch.cat(out, 3).permute(0, 3, 1, 2, 4).reshape(b, t, c.dim)
        x = x + self.attn_output(o)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


def rope(x, rot):
    """Turns the pairs (2i, 2i+1) of each head: GGUF's llama convention."""
    cos, sin = rot
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Llama(nn.Module):
    def __init__(self, c, seed=0):
        super().__init__()
        self.c = c
        self.token_embd = nn.Embedding(c.vocab, c.dim)
        self.blk = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.output_norm = RMSNorm(c.dim, c.eps)
        g = torch.Generator().manual_seed(seed)
        for n, p in self.named_parameters():
            if p.dim() == 2:
                std = 0.05 if n.startswith("token_embd") else p.shape[1] ** -0.5
                if "output" in n or "down" in n:
                    std /= math.sqrt(2 * c.layers)
                p.data.normal_(0, std, generator=g)
        f = c.theta ** (-torch.arange(0, c.head, 2).double() / c.head)
        ang = torch.arange(c.context).double()[:, None] * f[None]
        self.cos, self.sin = ang.cos().float()[:, None], ang.sin().float()[:, None]
        self.mask = torch.full((c.context, c.context), float("-inf")).triu(1)

    def hidden(self, ids):
        t = ids.shape[1]
        x = self.token_embd(ids)
        for b in self.blk:
            x = b(x, (self.cos[:t], self.sin[:t]), self.mask)
        return self.output_norm(x)

    def forward(self, ids):
        return self.hidden(ids) @ self.token_embd.weight.t()

    def params(self):
        return sum(p.numel() for p in self.parameters())
