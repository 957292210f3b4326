# SPDX-License-Identifier: Apache-2.0
"""Writes a trained model as a GGUF 3 file: matrices F16, norms F32."""
import argparse
import json
import struct

import numpy as np
import torch

import bpe
from model import Config, Llama

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64 = range(11)

# Turns a list of messages into the Llama 3 shape.
TEMPLATE = (
    "{{ bos_token }}"
    "{% for m in messages %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + (m['content'] | trim) + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)


def text(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def value(kind, v):
    if kind == STR:
        return text(v)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], v)


def entry(key, kind, v, item=None):
    out = text(key) + struct.pack("<I", kind)
    if kind == ARR:
        return out + struct.pack("<IQ", item, len(v)) + b"".join(value(item, x) for x in v)
    return out + value(kind, v)


def tensors(model):
    """(GGUF name, array) in file order. A torch weight is [out, in]; GGUF
    lists the row length first, so the bytes are the same."""
    sd = model.state_dict()
    names = ["token_embd.weight"]
    for i in range(model.c.layers):
        names += [f"blk.{i}.{n}.weight" for n in ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")]
    names.append("output_norm.weight")
    assert sorted(names) == sorted(sd), "a tensor is missing"
    for n in names:
        x = sd[n].numpy()
        yield n, x.astype(np.float16 if x.ndim == 2 else np.float32)


def write(path, model, tok):
    c = model.c
    toks, merges = tok.spelled()
    sp = tok.special
    kv = [
        entry("general.architecture", STR, "llama"),
        entry("general.name", STR, "hc1-tales-0.3m"),
        entry("general.description", STR, "A very small language model that tells tales, for an emulated card."),
        entry("general.license", STR, "apache-2.0"),
        entry("general.file_type", U32, 1),
        entry("general.alignment", U32, 32),
        entry("llama.vocab_size", U32, c.vocab),
        entry("llama.context_length", U32, c.context),
        entry("llama.embedding_length", U32, c.dim),
        entry("llama.block_count", U32, c.layers),
        entry("llama.feed_forward_length", U32, c.ffn),
        entry("llama.attention.head_count", U32, c.heads),
        entry("llama.attention.head_count_kv", U32, c.kv_heads),
        entry("llama.attention.layer_norm_rms_epsilon", F32, c.eps),
        entry("llama.rope.dimension_count", U32, c.head),
        entry("llama.rope.freq_base", F32, c.theta),
        entry("tokenizer.ggml.model", STR, "gpt2"),
        entry("tokenizer.ggml.pre", STR, "gpt-2"),
        entry("tokenizer.ggml.tokens", ARR, toks, STR),
        entry("tokenizer.ggml.token_type", ARR, [1] * (len(toks) - len(sp)) + [3] * len(sp), I32),
        entry("tokenizer.ggml.merges", ARR, merges, STR),
        entry("tokenizer.ggml.bos_token_id", U32, sp[bpe.BOS]),
        entry("tokenizer.ggml.eos_token_id", U32, sp[bpe.EOS]),
        entry("tokenizer.ggml.eot_token_id", U32, sp[bpe.EOT]),
        entry("tokenizer.ggml.add_bos_token", BOOL, True),
        entry("tokenizer.ggml.add_eos_token", BOOL, False),
        entry("tokenizer.chat_template", STR, TEMPLATE),
    ]
    ts = list(tensors(model))
    info, data = b"", b""
    for n, x in ts:
        info += text(n) + struct.pack("<I", x.ndim) + b"".join(struct.pack("<Q", d) for d in reversed(x.shape))
        info += struct.pack("<IQ", 1 if x.dtype == np.float16 else 0, len(data))
        data += x.tobytes()
        data += bytes(-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(ts), len(kv)) + b"".join(kv) + info
    head += bytes(-len(head) % 32)
    with open(path, "wb") as f:
        f.write(head + data)
    return len(head) + len(data)


def load(folder):
    with open(f"{folder}/tokenizer.json") as f:
        tok = bpe.Tokenizer([(bytes.fromhex(x), bytes.fromhex(y)) for x, y in json.load(f)])
    model = Llama(Config())
    model.load_state_dict(torch.load(f"{folder}/model.pt"))
    for p in model.parameters():
        if p.dim() == 2:
            p.data = p.data.half().float()
    return model.eval(), tok


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default=".cache/train")
    ap.add_argument("--gguf", default="internal/model/default.gguf")
    a = ap.parse_args()
    print(a.gguf, write(a.gguf, *load(a.out)), "bytes")
