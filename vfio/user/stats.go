package user

// Stats counts what a server did since it was made.
type Stats struct {
	Received    [20]uint64 // messages by command; the last is all unknown ones
	Refused     uint64     // commands that were answered with an error
	Clients     uint64     // that came and went
	Busy        uint64     // that were told to come later
	DirectDMA   uint64     // accesses to memory that is mapped here
	MessageDMA  uint64     // accesses that took a message
	FailedDMA   uint64     // accesses that were refused
	Interrupts  uint64     // sent
	Maps        int        // DMA mappings now
	SweptUnmaps uint64     // DMA_UNMAPs that were not one exact mapping
}

// Messages is how many messages of a command came.
func (s Stats) Messages(c Command) uint64 {
	if int(c) >= len(s.Received)-1 {
		return s.Received[len(s.Received)-1]
	}
	return s.Received[c]
}

// Total is how many messages came in all.
func (s Stats) Total() (n uint64) {
	for _, k := range s.Received {
		n += k
	}
	return n
}

// Stats returns a copy of the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != nil {
		s.now.bus.counters(&s.stats)
	}
	return s.stats
}

func (s *Server) count(f func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stats)
}
