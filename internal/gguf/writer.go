package gguf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Writer collects keys and tensors and writes them as a version 3 file. The
// first mistake (a duplicate tensor, data of the wrong size) is kept and
// returned by WriteTo.
type Writer struct {
	keys    []wkey
	tensors []Tensor
	align   uint64
	err     error
}

type wkey struct {
	key   string
	value []byte // type and value, as they appear in the file
}

// NewWriter returns an empty Writer.
func NewWriter() *Writer { return &Writer{align: defAlignment} }

// set stores a value; a key set again keeps its place and takes the new one.
func (w *Writer) set(key string, value []byte) {
	if key == "" || len(key) > maxKeyLen {
		w.fail("key %q: length %d, want 1..%d", short(key), len(key), maxKeyLen)
	}
	for i := range w.keys {
		if w.keys[i].key == key {
			w.keys[i].value = value
			return
		}
	}
	w.keys = append(w.keys, wkey{key, value})
}

func (w *Writer) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("gguf: writing "+format, args...)
	}
}

func le32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }
func le64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }
func lestr(b []byte, s string) []byte {
	return append(le64(b, uint64(len(s))), s...)
}

func arrayHead(elem kind, n int) []byte {
	return le64(le32(le32(nil, uint32(kArray)), uint32(elem)), uint64(n))
}

// SetString sets a string key.
func (w *Writer) SetString(key, v string) { w.set(key, lestr(le32(nil, uint32(kString)), v)) }

// SetUint32 sets a uint32 key. Setting general.alignment aligns the tensors.
func (w *Writer) SetUint32(key string, v uint32) {
	if key == alignmentKey {
		if v < 8 || v > maxAlignment || v&(v-1) != 0 {
			w.fail("key %q: %d is not a power of two in 8..%d", key, v, maxAlignment)
		} else {
			w.align = uint64(v)
		}
	}
	w.set(key, le32(le32(nil, uint32(kUint32)), v))
}

// SetFloat32 sets a float32 key.
func (w *Writer) SetFloat32(key string, v float32) {
	w.set(key, le32(le32(nil, uint32(kFloat32)), math.Float32bits(v)))
}

// SetBool sets a bool key.
func (w *Writer) SetBool(key string, v bool) {
	b := byte(0)
	if v {
		b = 1
	}
	w.set(key, append(le32(nil, uint32(kBool)), b))
}

// SetStrings sets an array of strings.
func (w *Writer) SetStrings(key string, v []string) {
	b := arrayHead(kString, len(v))
	for _, s := range v {
		b = lestr(b, s)
	}
	w.set(key, b)
}

// SetInt32s sets an array of int32.
func (w *Writer) SetInt32s(key string, v []int32) {
	b := arrayHead(kInt32, len(v))
	for _, x := range v {
		b = le32(b, uint32(x))
	}
	w.set(key, b)
}

// SetFloat32s sets an array of float32.
func (w *Writer) SetFloat32s(key string, v []float32) {
	b := arrayHead(kFloat32, len(v))
	for _, x := range v {
		b = le32(b, math.Float32bits(x))
	}
	w.set(key, b)
}

// AddTensor adds a tensor. The Writer keeps shape and data, which must not
// change until WriteTo has returned.
func (w *Writer) AddTensor(name string, shape []uint64, t Type, data []byte) {
	if name == "" || len(name) > maxNameLen {
		w.fail("tensor %q: name length %d, want 1..%d", short(name), len(name), maxNameLen)
	}
	for i := range w.tensors {
		if w.tensors[i].Name == name {
			w.fail("tensor %q: duplicate", name)
		}
	}
	if size, err := tensorSize(t, shape); err != nil {
		w.fail("tensor %q: %w", name, err)
	} else if size != uint64(len(data)) {
		w.fail("tensor %q: %v of %s takes %d bytes, got %d", name, shape, t, size, len(data))
	}
	w.tensors = append(w.tensors, Tensor{Name: name, Shape: shape, Type: t, Data: data})
}

// WriteTo writes the file. Nothing follows the last tensor's last byte.
func (w *Writer) WriteTo(out io.Writer) (int64, error) {
	if w.err != nil {
		return 0, w.err
	}
	head := le32([]byte(magic), 3)
	head = le64(le64(head, uint64(len(w.tensors))), uint64(len(w.keys)))
	for _, k := range w.keys {
		head = append(lestr(head, k.key), k.value...)
	}
	off := uint64(0)
	for _, t := range w.tensors {
		head = le32(lestr(head, t.Name), uint32(len(t.Shape)))
		for _, d := range t.Shape {
			head = le64(head, d)
		}
		head = le64(le32(head, uint32(t.Type)), off)
		off = w.pad(off + uint64(len(t.Data)))
	}
	var n int64
	write := func(b []byte) error {
		m, err := out.Write(b)
		n += int64(m)
		if err != nil {
			return fmt.Errorf("gguf: writing model: %w", err)
		}
		return nil
	}
	if err := write(head); err != nil {
		return n, err
	}
	zeros := make([]byte, w.align)
	for _, t := range w.tensors {
		if err := write(zeros[:w.pad(uint64(n))-uint64(n)]); err != nil {
			return n, err
		}
		if err := write(t.Data); err != nil {
			return n, err
		}
	}
	return n, nil
}

// Bytes is WriteTo into memory.
func (w *Writer) Bytes() ([]byte, error) {
	var b bytes.Buffer
	_, err := w.WriteTo(&b)
	return b.Bytes(), err
}

func (w *Writer) pad(n uint64) uint64 { return (n + w.align - 1) &^ (w.align - 1) }
