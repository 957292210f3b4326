// Package gguf reads and writes GGUF model files, versions 2 and 3,
// little-endian.
//
// A model file comes from anywhere, so Parse trusts nothing in it: every
// count, length, offset, alignment and shape is checked against the bytes
// that are really there before anything is allocated or sliced, and the
// memory a File needs beside the bytes is a small multiple of the header's
// size. A refusal is an *Error that names the byte offset and the field.
//
// Layout, for orientation: magic, version, tensor count, key count; the
// key/value pairs; the tensor table (name, shape, type, offset); padding to
// the alignment; tensor data, each tensor at its offset from there.
package gguf

import (
	"crypto/sha256"
	"fmt"
	"os"
	"sync"
)

// Limits no sane file comes near; they bound what a hostile one can cost.
const (
	maxKeys      = 1 << 16
	maxTensors   = 1 << 16
	maxKeyLen    = 1<<16 - 1 // the format's own limit
	maxNameLen   = 64        // the format's own limit
	maxDims      = 4         // the format's own limit
	maxNesting   = 4         // arrays within arrays
	maxAlignment = 1 << 20
	defAlignment = 32

	magic        = "GGUF"
	alignmentKey = "general.alignment"
)

// Error is a refusal of a file: what was being read, where, and why.
type Error struct {
	Offset int64  // byte offset in the file at which Field starts
	Field  string // e.g. `tensor 3 "blk.0.attn_q.weight"`
	Msg    string
}

func (e *Error) Error() string {
	return fmt.Sprintf("gguf: %s: %s (at byte 0x%x)", e.Field, e.Msg, e.Offset)
}

// File is a parsed model file. It is immutable and safe for use by many
// goroutines.
type File struct {
	data    []byte
	version uint32
	keys    []entry
	byKey   map[string]int
	tensors []Tensor
	byName  map[string]int

	sumOnce sync.Once
	sum     [32]byte
}

// entry is one key/value pair; the value stays in the file's bytes and is
// decoded when asked for, so an array costs nothing until then.
type entry struct {
	key   string
	at    int64 // where in the file the pair starts, for errors
	typ   kind
	elem  kind   // arrays: type of an element
	count uint64 // arrays: number of elements
	raw   []byte // the value's bytes; for arrays, from the first element on
}

// Tensor is one tensor of a File. Data aliases the file's bytes and must not
// be written to.
type Tensor struct {
	Name  string
	Shape []uint64 // GGUF order: the fastest-varying dimension first
	Type  Type
	Data  []byte
}

// Open reads and parses the file at path. The whole file is read into memory.
func Open(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("gguf: reading model: %w", err)
	}
	f, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// SHA256 is the hash of the file's bytes.
func (f *File) SHA256() [32]byte {
	f.sumOnce.Do(func() { f.sum = sha256.Sum256(f.data) })
	return f.sum
}

// Version is the format version, 2 or 3.
func (f *File) Version() uint32 { return f.version }

// Tensor finds a tensor by name.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.byName[name]
	if !ok {
		return Tensor{}, false
	}
	return f.tensors[i], true
}

// Tensors lists the tensors in file order.
func (f *File) Tensors() []Tensor {
	return append([]Tensor(nil), f.tensors...)
}

// Elements is the product of the shape. Parse has checked that it cannot
// overflow.
func (t Tensor) Elements() uint64 {
	n := uint64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}
