package card

import "github.com/hc1-toolkit/hc1/internal/iommu"

// Category classes what a host did wrong.
type Category string

// Categories of violations.
const (
	ReadOnly    Category = "read-only"     // write to a read-only or reserved register
	Width       Category = "width"         // wrong access width or alignment
	Unreachable Category = "unreachable"   // access in D3, during a reset, or with memory space disabled
	Sequence    Category = "sequence"      // against the order of section 6
	Doorbell    Category = "doorbell"      // doorbell of a queue that does not exist
	Overrun     Category = "overrun"       // tail, head or shadow word beyond what the queue holds
	HeadBack    Category = "head-backward" // HEAD of a token ring went backwards or left the ring
	BusMaster   Category = "bus-master"    // work for a card that may not use the bus
	Reserved    Category = "reserved"      // reserved bits set

	// What the IOMMU refused.
	BadDMA       = Category(iommu.Unmapped)
	BadDirection = Category(iommu.Direction)
	UseAfterFree = Category(iommu.Freed)
)

// Violation is one breach of the interface by the host.
type Violation struct {
	Category Category
	What     string
	Where    string
	Time     int64
}

func (v Violation) String() string {
	return string(v.Category) + ": " + v.What + " (" + v.Where + ")"
}

// violate records a breach. Only the first of many are kept.
func (c *Card) violate(cat Category, where, what string) {
	c.nviolated++
	if len(c.violated) < maxViolations {
		c.violated = append(c.violated, Violation{cat, what, where, c.now})
	}
	c.note("violation " + string(cat) + ": " + what + " (" + where + ")")
}

// Violations returns what the host did wrong, oldest first, and how often it
// did so in all.
func (c *Card) Violations() ([]Violation, uint64) {
	return append([]Violation(nil), c.violated...), c.nviolated
}
