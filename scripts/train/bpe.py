# SPDX-License-Identifier: Apache-2.0
"""A byte-level BPE tokenizer: training, encoding, decoding.

The text is first cut into words by the GPT-2 rule

    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+

and merges never cross a word. All 256 bytes are tokens, so every input can be
encoded. Words made of white space only are kept out of training: "\\n\\n" stays
two tokens whether a letter follows or not, so a prompt that ends in "\\n\\n"
gives the same tokens as one that goes on.
"""
import re
import unicodedata
from collections import Counter, defaultdict

BOS, EOS, SH, EH, EOT = "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
SPECIAL = [BOS, EOS, SH, EH, EOT]

_ascii = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")
_short = re.compile(r"'(?:s|t|re|ve|m|ll|d)")
_space = set("\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {chr(c) for c in range(0x2000, 0x200b)}


def _class(c):
    if c in _space:
        return "s"
    k = unicodedata.category(c)[0]
    return k if k in "LN" else "o"


def split(text):
    """Cuts text into words. ASCII takes a regular expression, the rest a scan
    of the same rule, because Python's re has no \\p{L}."""
    if text.isascii() and not any("\x1c" <= c <= "\x1f" for c in text):
        return _ascii.findall(text)
    out, i, n = [], 0, len(text)
    while i < n:
        m = _short.match(text, i)
        if m:
            out.append(m.group())
            i = m.end()
            continue
        j = i + 1 if text[i] == " " and i + 1 < n and _class(text[i + 1]) != "s" else i
        k = _class(text[j])
        e = j
        while e < n and _class(text[e]) == k:
            e += 1
        if k == "s" and e < n and e - i > 1:
            e -= 1
        out.append(text[i:e])
        i = e
    return out


def byte_table():
    """GPT-2's printable spelling of the 256 bytes."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    t, n = {}, 0
    for b in range(256):
        if b in keep:
            t[b] = chr(b)
        else:
            t[b] = chr(256 + n)
            n += 1
    return t


class Tokenizer:
    def __init__(self, merges):
        """merges: list of (left, right) byte strings, best first."""
        self.merges = merges
        self.tokens = [bytes([b]) for b in range(256)] + [x + y for x, y in merges]
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        self.rank = {m: i for i, m in enumerate(merges)}
        self.special = {s: len(self.tokens) + i for i, s in enumerate(SPECIAL)}
        self.size = len(self.tokens) + len(SPECIAL)
        self.cache = {}

    def word(self, w):
        got = self.cache.get(w)
        if got is not None:
            return got
        parts = [bytes([b]) for b in w.encode()]
        while len(parts) > 1:
            best = min(range(len(parts) - 1), key=lambda i: self.rank.get((parts[i], parts[i + 1]), 1 << 30))
            if (parts[best], parts[best + 1]) not in self.rank:
                break
            parts[best:best + 2] = [parts[best] + parts[best + 1]]
        ids = [self.ids[p] for p in parts]
        if len(self.cache) < 1 << 17:
            self.cache[w] = ids
        return ids

    def encode(self, text):
        out = []
        for w in split(text):
            out += self.word(w)
        return out

    def decode(self, ids):
        inv = {i: s for s, i in self.special.items()}
        return b"".join(inv[i].encode() if i in inv else self.tokens[i] for i in ids).decode("utf-8", "replace")

    def spelled(self):
        """Tokens and merges as GGUF wants them."""
        t = byte_table()

        def s(b):
            return "".join(t[x] for x in b)
        return [s(b) for b in self.tokens] + SPECIAL, [s(x) + " " + s(y) for x, y in self.merges]


def train(texts, merges):
    """The usual greedy BPE over word counts; ties go to the smaller pair, so
    the result depends on the texts alone."""
    count = Counter()
    for t in texts:
        count.update(w for w in split(t) if not w.isspace() and w.isascii())
    words = [([bytes([b]) for b in w.encode()], n) for w, n in sorted(count.items())]
    pairs, where = Counter(), defaultdict(set)
    for i, (p, n) in enumerate(words):
        for x in zip(p, p[1:]):
            pairs[x] += n
            where[x].add(i)
    out = []
    while len(out) < merges:
        best = min(pairs, key=lambda x: (-pairs[x], x))
        out.append(best)
        for i in list(where[best]):
            p, n = words[i]
            for x in zip(p, p[1:]):
                pairs[x] -= n
                where[x].discard(i)
            q, j = [], 0
            while j < len(p):
                if j + 1 < len(p) and (p[j], p[j + 1]) == best:
                    q.append(p[j] + p[j + 1])
                    j += 2
                else:
                    q.append(p[j])
                    j += 1
            words[i] = (q, n)
            for x in zip(q, q[1:]):
                pairs[x] += n
                where[x].add(i)
        del pairs[best]
    return Tokenizer(out)
