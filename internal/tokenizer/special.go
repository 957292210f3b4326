package tokenizer

// trie finds special tokens in text: at one place the longest, and of several places the first. Its nodes are a flat list, child and
// next sibling by index, because a file may declare a great many special tokens and each map or slice would cost more than the text.
type trie struct {
	nodes []trieNode
	first [256]int32 // the node of a token's first byte; 0 is none, as node 0 is never used
}

type trieNode struct {
	id          uint32 // noToken where no token ends
	child, next int32
	b           byte
}

func (t *trie) add(name string, id uint32) {
	if t.nodes == nil {
		t.nodes = make([]trieNode, 1)
	}
	at := t.first[name[0]]
	if at == 0 {
		at = t.grow(name[0], 0)
		t.first[name[0]] = at
	}
	for i := 1; i < len(name); i++ {
		kid := t.step(at, name[i])
		if kid == 0 {
			kid = t.grow(name[i], t.nodes[at].child)
			t.nodes[at].child = kid
		}
		at = kid
	}
	t.nodes[at].id = id
}

func (t *trie) grow(b byte, next int32) int32 {
	t.nodes = append(t.nodes, trieNode{id: noToken, next: next, b: b})
	return int32(len(t.nodes) - 1)
}

func (t *trie) step(at int32, b byte) int32 {
	kid := t.nodes[at].child
	for kid != 0 && t.nodes[kid].b != b {
		kid = t.nodes[kid].next
	}
	return kid
}

// match is the longest special token that text begins with, and its length.
func (t *trie) match(text string) (id uint32, n int) {
	id = noToken
	at := t.first[text[0]]
	for i := 1; at != 0; i++ {
		if t.nodes[at].id != noToken {
			id, n = t.nodes[at].id, i
		}
		if i == len(text) {
			break
		}
		at = t.step(at, text[i])
	}
	return id, n
}

// find is the first special token in text; without one, start and end are the text's length and id is noToken.
func (t *trie) find(text string) (start, end int, id uint32) {
	for i := range len(text) {
		if t.first[text[i]] == 0 {
			continue
		}
		if id, n := t.match(text[i:]); id != noToken {
			return i, i + n, id
		}
	}
	return len(text), len(text), noToken
}

func (t *trie) exact(name string) uint32 {
	if name == "" {
		return noToken
	}
	if id, n := t.match(name); n == len(name) {
		return id
	}
	return noToken
}
