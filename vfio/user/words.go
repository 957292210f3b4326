package user

// Words of the client's memory: each is one aligned access of its width,
// ordered with the others, and a full fence.

// Load32 reads a word.
func (b *Bus) Load32(iova uint64) (uint32, error) {
	b.mu.RLock()
	v, err := b.table.Load32(iova)
	b.mu.RUnlock()
	if err == nil {
		b.direct.Add(1)
		return v, nil
	}
	var p [4]byte
	err = b.word(iova, p[:], false, err)
	return le.Uint32(p[:]), err
}

// Load64 reads a word.
func (b *Bus) Load64(iova uint64) (uint64, error) {
	b.mu.RLock()
	v, err := b.table.Load64(iova)
	b.mu.RUnlock()
	if err == nil {
		b.direct.Add(1)
		return v, nil
	}
	var p [8]byte
	err = b.word(iova, p[:], false, err)
	return le.Uint64(p[:]), err
}

// Store32 writes a word.
func (b *Bus) Store32(iova uint64, v uint32) error {
	b.mu.RLock()
	err := b.table.Store32(iova, v)
	b.mu.RUnlock()
	if err == nil {
		b.direct.Add(1)
		return nil
	}
	var p [4]byte
	le.PutUint32(p[:], v)
	return b.word(iova, p[:], true, err)
}

// Store64 writes a word.
func (b *Bus) Store64(iova uint64, v uint64) error {
	b.mu.RLock()
	err := b.table.Store64(iova, v)
	b.mu.RUnlock()
	if err == nil {
		b.direct.Add(1)
		return nil
	}
	var p [8]byte
	le.PutUint64(p[:], v)
	return b.word(iova, p[:], true, err)
}

// word asks the client for what the table could not do.
func (b *Bus) word(iova uint64, p []byte, write bool, table error) error {
	if iova%uint64(len(p)) != 0 || !b.worthAsking(table) {
		return table
	}
	if err := b.ask(iova, p, write); err != nil {
		return b.because(table, err)
	}
	return nil
}
