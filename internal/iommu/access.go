package iommu

import (
	"errors"
	"runtime/debug"
)

// ErrNoBytes is an access to a mapping whose memory can only be asked for.
var ErrNoBytes = errors.New("iommu: memory is not here")

// memory returns the bytes from iova to the end of its mapping.
func (t *Table) memory(iova uint64, write bool) (b []byte, shaky bool, err error) {
	x, off, err := t.Find(iova, write)
	if err != nil {
		return nil, false, err
	}
	if x.Bytes == nil {
		return nil, false, ErrNoBytes
	}
	return x.Bytes[off:], x.Shaky, nil
}

// Read copies memory to b. It may have copied a part when it fails.
func (t *Table) Read(iova uint64, b []byte) error {
	for len(b) > 0 {
		src, shaky, err := t.memory(iova, false)
		if err != nil {
			return err
		}
		n := min(len(b), len(src))
		if err := guardedCopy(b[:n], src, shaky, iova, false); err != nil {
			return err
		}
		b, iova = b[n:], iova+uint64(n)
	}
	return nil
}

// Write copies b to memory.
func (t *Table) Write(iova uint64, b []byte) error {
	for len(b) > 0 {
		dst, shaky, err := t.memory(iova, true)
		if err != nil {
			return err
		}
		n := min(len(b), len(dst))
		if err := guardedCopy(dst[:n], b, shaky, iova, true); err != nil {
			return err
		}
		b, iova = b[n:], iova+uint64(n)
	}
	return nil
}

func guardedCopy(dst, src []byte, shaky bool, iova uint64, write bool) error {
	if !shaky {
		copy(dst, src)
		return nil
	}
	return Guard(iova, write, func() { copy(dst, src) })
}

// Guard runs an access to memory that may have gone: a page of a file that
// was cut short raises SIGBUS, which becomes a Fault.
func Guard(iova uint64, write bool, access func()) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			if _, ok := r.(interface{ Addr() uintptr }); !ok {
				panic(r) // not a memory fault: a bug
			}
			err = &Fault{iova, write, Vanished}
		}
	}()
	access()
	return nil
}

// word returns the memory of one aligned access.
func (t *Table) word(iova uint64, size uint64, write bool) (b []byte, shaky bool, err error) {
	if iova%size != 0 {
		return nil, false, &Fault{iova, write, Unmapped}
	}
	return t.memory(iova, write) // pages are aligned, so the word is whole
}

// Load32 is one aligned access.
func (t *Table) Load32(iova uint64) (v uint32, err error) {
	b, shaky, err := t.word(iova, 4, false)
	switch {
	case err != nil:
		return 0, err
	case shaky:
		err = Guard(iova, false, func() { v = load32(b) })
		return v, err
	}
	return load32(b), nil
}

// Load64 is one aligned access.
func (t *Table) Load64(iova uint64) (v uint64, err error) {
	b, shaky, err := t.word(iova, 8, false)
	switch {
	case err != nil:
		return 0, err
	case shaky:
		err = Guard(iova, false, func() { v = load64(b) })
		return v, err
	}
	return load64(b), nil
}

// Store32 is one aligned access and a full fence.
func (t *Table) Store32(iova uint64, v uint32) error {
	b, shaky, err := t.word(iova, 4, true)
	switch {
	case err != nil:
		return err
	case shaky:
		return Guard(iova, true, func() { store32(b, v) })
	}
	store32(b, v)
	return nil
}

// Store64 is one aligned access and a full fence.
func (t *Table) Store64(iova uint64, v uint64) error {
	b, shaky, err := t.word(iova, 8, true)
	switch {
	case err != nil:
		return err
	case shaky:
		return Guard(iova, true, func() { store64(b, v) })
	}
	store64(b, v)
	return nil
}
