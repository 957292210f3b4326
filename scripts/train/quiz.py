# SPDX-License-Identifier: Apache-2.0
"""Asks the trained model fresh questions of every kind and counts the answers
that are right word for word, and tales that keep to what was asked."""
import argparse
import random

import torch

import corpus
import export
import train
import words as W

KINDS = dict(colours=corpus.colour, numbers=corpus.numbers, opposites=corpus.opposite, plurals=corpus.plurals,
             animals=corpus.animal_fact, calendar=corpus.calendar, recall=corpus.recall)


def right(kind, question, want, got):
    if kind == "plurals":
        return got.rstrip(".").split()[-1:] == want.rstrip(".").split()[-1:]
    if kind == "recall" and want.startswith(("You said", "I say")):
        return got.split(maxsplit=2)[2:] == want.split(maxsplit=2)[2:]
    return got == want


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default=".cache/train")
    ap.add_argument("-n", type=int, default=50)
    a = ap.parse_args()
    torch.set_num_threads(1)
    model, tok = export.load(a.out)
    r = random.Random(4242)

    def ask(q, n, t=0.0, seed=1):
        return train.sample(model, tok, train.prompt(tok, q), n=n, temperature=t, seed=seed)[0]

    for kind, make in KINDS.items():
        wrong, ok = [], 0
        for _ in range(a.n):
            q, want = make(r)
            got = ask(q, 48)
            if right(kind, q, want, got):
                ok += 1
            else:
                wrong.append(f"{q} -> {got}")
        print(f"{kind}: {ok} of {a.n}", *wrong[:2], sep="\n    ")
    hero = place = thing = 0
    for i in range(a.n):
        h, p, o = r.choice(W.HEROES), r.choice(list(W.PLACES)), r.choice(W.OBJECTS)
        s = ask(f"Tell me a story about {corpus.a(h)} and the {p}.", 60, 0.7, i)
        hero += h in s
        place += p in s
        thing += o in ask(f"Write a story about {corpus.a(h)} and {corpus.a(o)}.", 120, 0.7, i)
    print(f"tales: hero {hero}, place {place}, thing {thing} of {a.n}")


if __name__ == "__main__":
    main()
