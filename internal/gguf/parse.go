package gguf

import (
	"encoding/binary"
	"fmt"
	"sort"
)

// reader walks the header. Every read goes through take, so nothing is ever
// sliced past the end.
type reader struct {
	data []byte
	pos  uint64
}

func (r *reader) left() uint64 { return uint64(len(r.data)) - r.pos }

func (r *reader) fail(field, format string, args ...any) error {
	return &Error{Offset: int64(r.pos), Field: field, Msg: fmt.Sprintf(format, args...)}
}

func (r *reader) take(field string, n uint64) ([]byte, error) {
	if n > r.left() {
		return nil, r.fail(field, "needs %d bytes, %d left", n, r.left())
	}
	b := r.data[r.pos : r.pos+n : r.pos+n]
	r.pos += n
	return b, nil
}

func (r *reader) u32(field string) (uint32, error) {
	b, err := r.take(field, 4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (r *reader) u64(field string) (uint64, error) {
	b, err := r.take(field, 8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// str reads a length-prefixed string of at most limit bytes.
func (r *reader) str(field string, limit uint64) ([]byte, error) {
	at := r.pos
	n, err := r.u64(field)
	if err != nil {
		return nil, err
	}
	if n > limit {
		r.pos = at
		return nil, r.fail(field, "string of %d bytes, limit %d", n, limit)
	}
	return r.take(field, n)
}

// count reads a number of things of which each takes at least min bytes.
func (r *reader) count(field string, limit, min uint64) (uint64, error) {
	at := r.pos
	n, err := r.u64(field)
	if err != nil {
		return 0, err
	}
	if n > limit {
		r.pos = at
		return 0, r.fail(field, "%d is over the limit of %d", n, limit)
	}
	if n > r.left()/min {
		left := r.left()
		r.pos = at
		return 0, r.fail(field, "%d cannot fit in the %d bytes left", n, left)
	}
	return n, nil
}

// Parse reads a model from data, which it keeps and which must not change
// afterwards.
func Parse(data []byte) (*File, error) {
	r := &reader{data: data}
	f := &File{data: data}
	m, err := r.take("magic", 4)
	if err != nil {
		return nil, err
	}
	if string(m) != magic {
		r.pos = 0
		return nil, r.fail("magic", "%q is not %q", m, magic)
	}
	if f.version, err = r.u32("version"); err != nil {
		return nil, err
	}
	if f.version != 2 && f.version != 3 {
		r.pos -= 4
		if f.version&0xffff == 0 {
			return nil, r.fail("version", "big-endian files are not supported")
		}
		return nil, r.fail("version", "%d is not supported, want 2 or 3", f.version)
	}
	// A tensor's entry takes at least 8+4+8+4+8 bytes, a key's 8+4+1.
	nt, err := r.count("tensor count", maxTensors, 32)
	if err != nil {
		return nil, err
	}
	nk, err := r.count("key count", maxKeys, 13)
	if err != nil {
		return nil, err
	}
	if err := f.parseKeys(r, nk); err != nil {
		return nil, err
	}
	align, err := f.alignment()
	if err != nil {
		return nil, err
	}
	if err := f.parseTensors(r, nt, align); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) parseKeys(r *reader, n uint64) error {
	f.byKey = make(map[string]int, n)
	f.keys = make([]entry, 0, n)
	for i := range n {
		field := fmt.Sprintf("key %d", i)
		at := r.pos
		name, err := r.str(field, maxKeyLen)
		if err != nil {
			return err
		}
		e := entry{key: string(name), at: int64(at)}
		field = fmt.Sprintf("key %d %q", i, short(e.key))
		if e.key == "" {
			r.pos = at
			return r.fail(field, "empty name")
		}
		if _, dup := f.byKey[e.key]; dup {
			r.pos = at
			return r.fail(field, "duplicate")
		}
		t, err := r.u32(field)
		if err != nil {
			return err
		}
		e.typ = kind(t)
		if err := r.value(field, &e); err != nil {
			return err
		}
		f.byKey[e.key] = len(f.keys)
		f.keys = append(f.keys, e)
	}
	return nil
}

// value reads what follows a key's type into e.
func (r *reader) value(field string, e *entry) error {
	if e.typ != kArray {
		at := r.pos
		if err := r.scalars(field, e.typ, 1, 0); err != nil {
			return err
		}
		e.raw = r.data[at:r.pos:r.pos]
		return nil
	}
	elem, n, err := r.arrayHead(field)
	if err != nil {
		return err
	}
	at := r.pos
	if err := r.scalars(field, elem, n, 1); err != nil {
		return err
	}
	e.elem, e.count, e.raw = elem, n, r.data[at:r.pos:r.pos]
	return nil
}

func (r *reader) arrayHead(field string) (kind, uint64, error) {
	t, err := r.u32(field)
	if err != nil {
		return 0, 0, err
	}
	k := kind(t)
	if k >= kEnd {
		r.pos -= 4
		return 0, 0, r.fail(field, "unknown element type %d", t)
	}
	min := kinds[k].size
	switch k {
	case kString:
		min = 8
	case kArray:
		min = 12
	}
	n, err := r.count(field+": array length", 1<<48, min)
	return k, n, err
}

// scalars steps over n values of kind k, checking each that can be bad. The
// work is linear in the bytes passed: each value takes at least one.
func (r *reader) scalars(field string, k kind, n uint64, depth int) error {
	if k >= kEnd {
		r.pos -= 4
		return r.fail(field, "unknown value type %d", uint32(k))
	}
	switch k {
	case kString:
		for range n {
			if _, err := r.str(field, r.left()); err != nil {
				return err
			}
		}
	case kArray:
		if depth >= maxNesting {
			return r.fail(field, "arrays nested deeper than %d", maxNesting)
		}
		for range n {
			elem, m, err := r.arrayHead(field)
			if err != nil {
				return err
			}
			if err := r.scalars(field, elem, m, depth+1); err != nil {
				return err
			}
		}
	default:
		// n was checked against the bytes left, so the product cannot wrap.
		b, err := r.take(field, n*kinds[k].size)
		if err != nil {
			return err
		}
		if k == kBool {
			for i, v := range b {
				if v > 1 {
					r.pos -= n - uint64(i)
					return r.fail(field, "bool has value %d", v)
				}
			}
		}
	}
	return nil
}

func (f *File) alignment() (uint64, error) {
	i, ok := f.byKey[alignmentKey]
	if !ok {
		return defAlignment, nil
	}
	a, ok := f.Uint32(alignmentKey)
	if !ok || a < 8 || a > maxAlignment || a&(a-1) != 0 {
		return 0, &Error{Offset: f.keys[i].at, Field: fmt.Sprintf("key %d %q", i, alignmentKey),
			Msg: fmt.Sprintf("%s is not a power of two in 8..%d", f.keys[i].print(), maxAlignment)}
	}
	return uint64(a), nil
}

func (f *File) parseTensors(r *reader, n, align uint64) error {
	type span struct {
		off, size, at uint64
		i             int
	}
	f.byName = make(map[string]int, n)
	f.tensors = make([]Tensor, 0, n)
	spans := make([]span, 0, n)
	for i := range n {
		field := fmt.Sprintf("tensor %d", i)
		at := r.pos
		name, err := r.str(field, maxNameLen)
		if err != nil {
			return err
		}
		t := Tensor{Name: string(name)}
		field = tensorField(int(i), t.Name)
		back := func(format string, args ...any) error {
			r.pos = at
			return r.fail(field, format, args...)
		}
		if t.Name == "" {
			return back("empty name")
		}
		if _, dup := f.byName[t.Name]; dup {
			return back("duplicate")
		}
		nd, err := r.u32(field)
		if err != nil {
			return err
		}
		if nd == 0 || nd > maxDims {
			return back("%d dimensions, want 1..%d", nd, maxDims)
		}
		t.Shape = make([]uint64, nd)
		for d := range t.Shape {
			if t.Shape[d], err = r.u64(field); err != nil {
				return err
			}
		}
		typ, err := r.u32(field)
		if err != nil {
			return err
		}
		t.Type = Type(typ)
		off, err := r.u64(field)
		if err != nil {
			return err
		}
		size, err := tensorSize(t.Type, t.Shape)
		if err != nil {
			return back("%v", err)
		}
		if off%align != 0 {
			return back("offset 0x%x is not aligned to %d", off, align)
		}
		f.byName[t.Name] = len(f.tensors)
		f.tensors = append(f.tensors, t)
		spans = append(spans, span{off, size, at, int(i)})
	}
	if n == 0 {
		return nil
	}
	// Offsets count from the padded end of the table. Padding past the end
	// of the file is caught by the first tensor, which then cannot fit.
	base := (r.pos + align - 1) &^ (align - 1)
	size := uint64(len(r.data))
	for _, s := range spans {
		if base > size || s.off > size-base || s.size > size-base-s.off {
			r.pos = s.at
			return r.fail(tensorField(s.i, f.tensors[s.i].Name),
				"offset 0x%x + size %d past end of file (data starts at 0x%x, file has %d bytes)", s.off, s.size, base, size)
		}
		lo := base + s.off
		f.tensors[s.i].Data = r.data[lo : lo+s.size : lo+s.size]
	}
	sort.Slice(spans, func(a, b int) bool { return spans[a].off < spans[b].off })
	for i := 1; i < len(spans); i++ {
		p, s := spans[i-1], spans[i]
		if s.off < p.off+p.size {
			r.pos = s.at
			return r.fail(tensorField(s.i, f.tensors[s.i].Name), "data overlaps that of %s", tensorField(p.i, f.tensors[p.i].Name))
		}
	}
	return nil
}

func tensorField(i int, name string) string { return fmt.Sprintf("tensor %d %q", i, name) }
