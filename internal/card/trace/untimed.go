package trace

// doorbellPage is the stride of doorbells (docs/hci.md section 4), recordLen
// the part of a token record that is written before its last word (11).
const (
	doorbells    = 2 // the BAR
	doorbellPage = 4096
	recordLen    = 56
)

// Untimed is what of a trace does not depend on timing, in three parts: the
// accesses of registers and configuration space, what was said of commands
// and resets, and the token records.
//
// A host polls a register until it likes what it reads: of such reads the
// last one counts. Whether a doorbell of an I/O queue has to be rung depends
// on whether the card is looking (section 4.1): they are left out, and so are
// the words by which the two sides tell each other how far they are.
func Untimed(all []Entry) []Entry {
	var regs, notes, records []Entry
	for _, e := range all {
		switch e.Kind {
		case ConfigRead, MMIORead:
			if n := len(regs); n > 0 && regs[n-1].Kind == e.Kind && regs[n-1].BAR == e.BAR && regs[n-1].Addr == e.Addr {
				regs = regs[:n-1]
			}
			regs = append(regs, e)
		case ConfigWrite:
			regs = append(regs, e)
		case MMIOWrite:
			if e.BAR != doorbells || e.Addr < doorbellPage {
				regs = append(regs, e)
			}
		case Note:
			notes = append(notes, e)
		case DMAWrite:
			if e.Len == recordLen && e.Hashed {
				records = append(records, e)
			}
		}
	}
	return append(append(regs, notes...), records...)
}
