package main

import "strings"

// stopper finds stop strings in text that comes in pieces. What may be the
// beginning of one is held back.
type stopper struct {
	stops []string
	held  string
}

// feed takes the next piece and returns what can be shown; found says that a
// stop string was met: it, and all after it, is left out.
func (s *stopper) feed(piece string) (show string, found bool) {
	s.held += piece
	cut := -1
	for _, stop := range s.stops {
		if i := strings.Index(s.held, stop); i >= 0 && (cut < 0 || i < cut) {
			cut = i
		}
	}
	if cut >= 0 {
		show, s.held = s.held[:cut], ""
		return show, true
	}
	keep := 0
	for _, stop := range s.stops {
		for n := min(len(stop)-1, len(s.held)); n > keep; n-- {
			if strings.HasSuffix(s.held, stop[:n]) {
				keep = n
				break
			}
		}
	}
	show, s.held = s.held[:len(s.held)-keep], s.held[len(s.held)-keep:]
	return show, false
}

// rest is what was held back when the text ends.
func (s *stopper) rest() string {
	r := s.held
	s.held = ""
	return r
}
