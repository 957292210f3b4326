# SPDX-License-Identifier: Apache-2.0
"""Trains the default model and measures it. See README.md."""
import argparse
import json
import math
import os
import random
import time

import numpy as np
import torch
import torch.nn.functional as F

import bpe
import corpus
from model import Config, Llama

HELD_SEED = 900_001
ASK_WEIGHT = 0.1     # prompts are context; the model need not learn to ask
SHORT_WEIGHT = 4.0   # short answers are few tokens beside the tales


def encode(tok, doc):
    """ids; the weight of each id as a target; 1 for the model's own words and 2
    for those that carry a fact; bytes of the model's own words"""
    ids, wt, own, nbytes = [], [], [], 0
    sp = tok.special
    mine = False
    for kind, text in doc:
        if kind == "bos":
            ids.append(sp[bpe.BOS])
            wt.append(0.0)
            own.append(0)
        elif kind in ("eot", "eos"):
            ids.append(sp[bpe.EOT if kind == "eot" else bpe.EOS])
            wt.append(1.0 if mine else ASK_WEIGHT)
            own.append(int(mine))
        elif kind == "hdr":
            h = [sp[bpe.SH]] + tok.encode(text) + [sp[bpe.EH]] + tok.encode("\n\n")
            ids += h
            wt += [ASK_WEIGHT] * len(h)
            own += [0] * len(h)
        else:
            mine = kind == "say"
            t, o = [], []
            for w in bpe.split(text):
                x = tok.word(w)
                t += x
                o += [int(mine) + (mine and w.strip() in corpus.FACTS)] * len(x)
            ids += t
            wt += [ASK_WEIGHT if not mine else SHORT_WEIGHT if len(t) < 48 else 1.0] * len(t)
            own += o
            if mine:
                nbytes += len(text.encode())
    return ids, wt, own, nbytes


def load(tok, seed, tokens, held, context):
    """Documents from a seed until there are about this many tokens."""
    out, total = [], 0
    r = random.Random(seed)
    while total < tokens:
        e = encode(tok, corpus.document(r, held))
        if len(e[0]) > context:
            continue
        out.append(e)
        total += len(e[0])
    return out


def batches(docs, r, padded):
    """Groups documents of like length. Each row is one document that starts
    at position 0, as it will when the model is used."""
    order = list(range(len(docs)))
    r.shuffle(order)
    groups = []
    chunk = 4096
    for s in range(0, len(order), chunk):
        part = sorted(order[s:s + chunk], key=lambda i: len(docs[i][0]))
        cur, longest = [], 0
        for i in part:
            n = (len(docs[i][0]) + 7) // 8 * 8
            if cur and max(longest, n) * (len(cur) + 1) > padded:
                groups.append(cur)
                cur, longest = [], 0
            cur.append(i)
            longest = max(longest, n)
        groups.append(cur)
    r.shuffle(groups)
    for g in groups:
        t = max(len(docs[i][0]) for i in g)
        ids = np.zeros((len(g), t), np.int64)
        wt = np.zeros((len(g), t), np.float32)
        own = np.zeros((len(g), t), np.int64)
        for row, i in enumerate(g):
            n = len(docs[i][0])
            ids[row, :n], wt[row, :n], own[row, :n] = docs[i][0], docs[i][1], docs[i][2]
        yield torch.from_numpy(ids), torch.from_numpy(wt), torch.from_numpy(own)


def losses(model, ids, sel):
    """Cross entropy at the selected targets only."""
    h = model.hidden(ids[:, :-1])
    h = h[sel[:, 1:]]
    return F.cross_entropy(h @ model.token_embd.weight.t(), ids[:, 1:][sel[:, 1:]], reduction="none")


@torch.no_grad()
def evaluate(model, docs):
    """(nats per token, bits per byte) of the model's own words, and nats per
    token over the words that carry facts and over everything."""
    own_sum = own_n = fact_sum = fact_n = all_sum = all_n = 0
    for ids, wt, own in batches(docs, random.Random(0), 8192):
        real = wt > 0
        l = losses(model, ids, real)
        kind = own[:, 1:][real[:, 1:]]
        o = kind > 0
        fact_sum += l[kind == 2].double().sum().item()
        fact_n += int((kind == 2).sum())
        own_sum += l[o].double().sum().item()
        own_n += int(o.sum())
        all_sum += l.double().sum().item()
        all_n += l.numel()
    nbytes = sum(d[3] for d in docs)
    return dict(nats=own_sum / own_n, bpb=own_sum / math.log(2) / nbytes, fact_nats=fact_sum / fact_n, all_nats=all_sum / all_n, tokens=own_n, bytes=nbytes)


def bigram(train, docs, vocab):
    """Add-k token bigrams; k is the best of a few on the measured set itself,
    which favours the baseline."""
    c = np.zeros((vocab, vocab))
    for d in train:
        a = np.array(d[0])
        np.add.at(c, (a[:-1], a[1:]), 1)
    best = None
    for k in (1.0, 0.1, 0.01, 0.001):
        lp = np.log((c + k) / (c.sum(1, keepdims=True) + k * vocab))
        s = n = sf = nf = sa = na = 0
        for d in docs:
            a, f = np.array(d[0]), np.array(d[2][1:])
            o, f = f > 0, f == 2
            x = -lp[a[:-1], a[1:]]
            s, sf, sa = s + x[o].sum(), sf + x[f].sum(), sa + x.sum()
            n, nf, na = n + o.sum(), nf + f.sum(), na + x.size
        if best is None or s / n < best["nats"]:
            best = dict(nats=s / n, bpb=s / math.log(2) / sum(d[3] for d in docs), fact_nats=sf / nf, all_nats=sa / na, k=k)
    return best


class Muon:
    """Momentum whose update is made nearly orthogonal by a few Newton-Schulz
    steps (K. Jordan's method). It needs about half the tokens AdamW needs."""

    def __init__(self, params):
        self.p = params
        self.m = [torch.zeros_like(p) for p in params]

    @torch.no_grad()
    def step(self, lr, beta=0.95, decay=0.05):
        for p, m in zip(self.p, self.m):
            m.mul_(beta).add_(p.grad, alpha=1 - beta)
            u = p.grad * (1 - beta) + m * beta
            wide = u.shape[0] > u.shape[1]
            if wide:
                u = u.t()
            u = u / (u.norm() + 1e-12)
            for _ in range(5):
                s = u @ u.t()
                u = 3.4445 * u + (-4.7750 * s + 2.0315 * s @ s) @ u
            if wide:
                u = u.t()
            p.mul_(1 - lr * decay).add_(u, alpha=-lr * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)


@torch.no_grad()
def sample(model, tok, ids, n=300, temperature=0.7, top_k=8, seed=1):
    g = torch.Generator().manual_seed(seed)
    stop = {tok.special[bpe.EOT], tok.special[bpe.EOS]}
    ids, start = list(ids), len(ids)
    while len(ids) < min(start + n, model.c.context):
        lg = model(torch.tensor([ids]))[0, -1]
        if temperature == 0:
            i = int(lg.argmax())
        else:
            v, ix = lg.topk(top_k)
            i = int(ix[torch.multinomial(torch.softmax(v / temperature, -1), 1, generator=g)])
        if i in stop:
            break
        ids.append(i)
    return tok.decode(ids[start:]), len(ids) - start


def prompt(tok, text, system=None):
    return encode(tok, corpus.chat([(text, "")], system))[0][:-1]


def round_f16(model):
    for p in model.parameters():
        if p.dim() == 2:
            p.data = p.data.half().float()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default=".cache/train")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--steps", type=int, default=3600)
    ap.add_argument("--tokens", type=float, default=0, help="size of the training text in tokens; 0: what the steps can use")
    ap.add_argument("--batch", type=int, default=4096, help="padded tokens in a step")
    ap.add_argument("--lr", type=float, default=4e-3, help="learning rate of AdamW")
    ap.add_argument("--every", type=int, default=500, help="steps between looks at the held-out text")
    ap.add_argument("--focus", type=float, default=3.0, help="first weight of the words that carry facts")
    ap.add_argument("--muon", type=float, default=0.02, help="learning rate of Muon for the inner matrices; 0: AdamW for all")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--init", default="", help="a folder of an earlier run to start from: its tokenizer and weights")
    ap.add_argument("--quick", action="store_true", help="a smoke test of a minute or two")
    a = ap.parse_args()
    if a.quick:
        a.steps = 60
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    os.makedirs(a.out, exist_ok=True)
    c = Config()
    t0 = time.time()

    def log(*x):
        print(f"[{time.time() - t0:6.0f} s]", *x, flush=True)

    r = random.Random(a.seed)
    texts = [x for _ in range(4000 if a.quick else 16000) for k, x in corpus.document(r) if k in ("say", "ask")]
    if a.init:
        with open(f"{a.init}/tokenizer.json") as f:
            tok = bpe.Tokenizer([(bytes.fromhex(x), bytes.fromhex(y)) for x, y in json.load(f)])
    else:
        tok = bpe.train(texts, c.vocab - 256 - len(bpe.SPECIAL))
    log(f"tokenizer: {tok.size} tokens, {len(tok.merges)} merges")
    with open(f"{a.out}/tokenizer.json", "w") as f:
        json.dump([[x.hex(), y.hex()] for x, y in tok.merges], f)

    want = a.tokens or a.steps * a.batch * 0.93
    docs = load(tok, a.seed + 1, want, False, c.context)
    held = load(tok, HELD_SEED, 3e4 if a.quick else 3e5, True, c.context)
    log(f"text: {len(docs)} documents, {sum(len(d[0]) for d in docs) / 1e6:.2f} M tokens; held out {len(held)} documents, "
        f"{sum(len(d[0]) for d in held) / 1e6:.2f} M tokens")
    model = Llama(c, a.seed)
    log(f"model: {model.params():,} parameters")
    report = dict(params=model.params(), vocab=tok.size, untrained=evaluate(model, held), bigram=bigram(docs, held, c.vocab))
    log("untrained:", report["untrained"])
    log("bigram:   ", report["bigram"])
    if a.init:
        model.load_state_dict(torch.load(f"{a.init}/model.pt"))

    inner = [p for n, p in model.named_parameters() if p.dim() == 2 and n.startswith("blk") and a.muon]
    mats = [p for n, p in model.named_parameters() if p.dim() == 2 and not (n.startswith("blk") and a.muon)]
    vecs = [p for p in model.parameters() if p.dim() < 2]
    opt = torch.optim.AdamW([dict(params=mats, weight_decay=0.05), dict(params=vecs, weight_decay=0.0)], lr=a.lr, betas=(0.9, 0.98), eps=1e-9)
    muon = Muon(inner)
    warm = min(100, a.steps // 10)
    rb = random.Random(a.seed + 2)

    # A step takes one pass from each class of length, in proportion to their
    # tokens, so that every step sees the same mixture.
    classes = [[d for d in docs if lo < len(d[0]) <= hi] for lo, hi in ((0, 64), (64, 240), (240, c.context))]
    total = sum(len(d[0]) for d in docs)

    def stream(part):
        size = max(int(a.batch * sum(len(d[0]) for d in part) / total), 320 if part is not classes[-1] else c.context)
        log(f"{len(part)} documents up to {max(len(d[0]) for d in part)} tokens, {size} tokens a step")
        while True:
            yield from batches(part, rb, size)

    feeds, seen, t1 = [stream(p) for p in classes], 0, time.time()
    show = 10 if a.quick else 50
    run_sum = run_n = 0.0
    for step in range(1, a.steps + 1):
        lr = a.lr * (step / warm if step <= warm else 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / (a.steps - warm))))
        for g in opt.param_groups:
            g["lr"] = lr
        focus = 1 + (a.focus - 1) * max(0.0, 1 - step / (0.7 * a.steps))
        todo = [next(f) for f in feeds]
        norm = sum(float(wt[:, 1:].sum()) for _, wt, _ in todo)
        for ids, wt, own in todo:
            sel = wt > 0
            l = losses(model, ids, sel)
            w = wt[:, 1:][sel[:, 1:]]
            o = own[:, 1:][sel[:, 1:]]
            ((l * w * torch.where(o == 2, focus, 1.0)).sum() / norm).backward()
            big = o > 0
            run_sum += float(l.detach()[big].sum())
            run_n += int(big.sum())
            seen += int(sel.sum())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        muon.step(a.muon * lr / a.lr)
        model.zero_grad(set_to_none=True)
        if step % show == 0:
            rate = seen / (time.time() - t1)
            log(f"step {step}/{a.steps}  loss {run_sum / run_n:.4f} nats/token  lr {lr:.1e}  {seen / 1e6:.2f} M tokens  {rate:.0f} tokens/s  "
                f"left {(a.steps - step) * (time.time() - t1) / step / 60:.1f} min")
            run_sum = run_n = 0.0
        if step % a.every == 0 and step < a.steps:
            torch.save(model.state_dict(), f"{a.out}/model.pt")
            log("held out:", evaluate(model, held[:200]))
    report["train_seconds"] = time.time() - t1
    report["train_tokens"] = seen
    report["trained_f32"] = evaluate(model, held)
    round_f16(model)
    report["trained"] = evaluate(model, held)
    torch.save(model.state_dict(), f"{a.out}/model.pt")
    with open(f"{a.out}/report.json", "w") as f:
        json.dump(report, f, indent=1)
    log("trained:  ", report["trained"])
    for q in ["Tell me a story about a fox", "Tell me a story about a fox and a river.", "What is this?", "What colour is the sky?"]:
        log(q, "->", sample(model, tok, prompt(tok, q))[0])


if __name__ == "__main__":
    main()
