# SPDX-License-Identifier: Apache-2.0
"""Reads the exported file again, with nothing shared with export.py or
model.py, computes logits in numpy (float64) and compares them with torch's;
then prints sample answers and, as JSON, what was measured."""
import argparse
import json
import os
import struct

import numpy as np


class Reader:
    def __init__(self, path):
        with open(path, "rb") as f:
            self.b = f.read()
        self.o = 0
        assert self.b[:4] == b"GGUF"
        self.o = 4
        version, nt, nkv = self.take("<IQQ")
        assert version == 3
        self.kv = {}
        for _ in range(nkv):
            k = self.string()
            self.kv[k] = self.val(self.take("<I")[0])
        infos = []
        for _ in range(nt):
            name = self.string()
            dims = self.take("<" + "Q" * self.take("<I")[0])
            infos.append((name, dims, *self.take("<IQ")))
        base = -(-self.o // self.kv["general.alignment"]) * self.kv["general.alignment"]
        self.t = {}
        for name, dims, kind, off in infos:
            dt = {0: "<f4", 1: "<f2"}[kind]
            n = int(np.prod(dims))
            assert off % 32 == 0 and base + off + n * int(dt[-1]) <= len(self.b)
            self.t[name] = np.frombuffer(self.b, dt, n, base + off).astype(np.float64).reshape(dims[::-1])

    def take(self, f):
        v = struct.unpack_from(f, self.b, self.o)
        self.o += struct.calcsize(f)
        return v

    def string(self):
        n = self.take("<Q")[0]
        self.o += n
        return self.b[self.o - n:self.o].decode()

    def val(self, k):
        if k == 8:
            return self.string()
        if k == 9:
            item, n = self.take("<IQ")
            return [self.val(item) for _ in range(n)]
        return self.take({4: "<I", 5: "<i", 6: "<f", 7: "<?"}[k])[0]


def forward(r, ids):
    kv, T = r.kv, r.t
    nh, nk = kv["llama.attention.head_count"], kv["llama.attention.head_count_kv"]
    hd = kv["llama.rope.dimension_count"]
    eps, theta = kv["llama.attention.layer_norm_rms_epsilon"], kv["llama.rope.freq_base"]

    def norm(x, w):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w

    def turn(x):
        out = x.copy()
        for p in range(x.shape[0]):
            for i in range(hd // 2):
                s = p * theta ** (-2 * i / hd)
                a, b = x[p, :, 2 * i], x[p, :, 2 * i + 1]
                out[p, :, 2 * i] = a * np.cos(s) - b * np.sin(s)
                out[p, :, 2 * i + 1] = a * np.sin(s) + b * np.cos(s)
        return out

    x = T["token_embd.weight"][ids]
    n = len(ids)
    for l in range(kv["llama.block_count"]):
        g = lambda s: T[f"blk.{l}.{s}.weight"]
        h = norm(x, g("attn_norm"))
        q = turn((h @ g("attn_q").T).reshape(n, nh, hd))
        k = turn((h @ g("attn_k").T).reshape(n, nk, hd))
        v = (h @ g("attn_v").T).reshape(n, nk, hd)
        o = np.zeros((n, nh, hd))
        for head in range(nh):
            j = head // (nh // nk)
            for p in range(n):
                s = k[:p + 1, j] @ q[p, head] / np.sqrt(hd)
                e = np.exp(s - s.max())
                o[p, head] = (e / e.sum()) @ v[:p + 1, j]
        x = x + o.reshape(n, nh * hd) @ g("attn_output").T
        h = norm(x, g("ffn_norm"))
        a = h @ g("ffn_gate").T
        x = x + (a / (1 + np.exp(-a)) * (h @ g("ffn_up").T)) @ g("ffn_down").T
    return norm(x, T["output_norm.weight"]) @ T["token_embd.weight"].T


PROMPTS = ["Tell me a story about a fox", "Tell me a story about a fox and a river.", "tell me a short story about a penguin and a drum", "Write a story about a submarine.",
           "Once upon a time", "Tell me a long story about a brave mouse named Nora.", "What is this?", "Who are you?", "Hello!", "What colour is the sky?", "Count to ten.", "What is the opposite of hot?",
           "What is the plural of fox?", "What does a cow say?", "What is three plus four?", "What is the capital of Portugal?", "Write a poem about an owl.", "Explain TCP congestion control"]

if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default=".cache/train")
    ap.add_argument("--gguf", default="internal/model/default.gguf")
    ap.add_argument("--temperature", type=float, default=0.7)
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    import torch

    import bpe
    import export
    import train
    torch.set_num_threads(1)
    model, tok = export.load(a.out)
    r = Reader(a.gguf)
    assert len(r.kv["tokenizer.ggml.tokens"]) == r.kv["llama.vocab_size"] == tok.size
    assert r.kv["tokenizer.ggml.tokens"][r.kv["tokenizer.ggml.eot_token_id"]] == bpe.EOT
    ids = train.prompt(tok, "Tell me a story about a fox and a river.") + tok.encode("Once upon a time there was a fox. Zq\u00e9\u4f60 7.")
    with torch.no_grad():
        want = model(torch.tensor([ids]))[0].double().numpy()
    got = forward(r, ids)
    err = np.abs(got - want).max()
    print(f"numpy and torch logits: largest difference {err:.2e} over {len(ids)} positions; size {os.path.getsize(a.gguf)} bytes")
    assert err < 1e-3 and (got.argmax(-1) == want.argmax(-1)).all()
    for p in PROMPTS:
        s, n = train.sample(model, tok, train.prompt(tok, p), temperature=a.temperature, seed=a.seed)
        print(f"\n> {p}\n{s}\n[{n} tokens]")
    s, n = train.sample(model, tok, [tok.special[bpe.BOS]] + tok.encode("Once upon a time there was a"), temperature=a.temperature, seed=a.seed)
    print(f"\n(plain) Once upon a time there was a|{s}\n[{n} tokens]")
    if os.path.exists(f"{a.out}/report.json"):
        print(json.dumps(json.load(open(f"{a.out}/report.json"))))
