package pci

// Express is the id of the PCI Express capability.
const Express = 0x10

// Capability is where in configuration space a capability is, 0 for nowhere.
// The list is the device's: it may lead anywhere, or in circles.
func Capability(read func(off, width int) (uint32, error), id uint32) (int, error) {
	p, err := read(0x34, 1)
	for range 48 { // as many as there is room for
		if err != nil || p < 0x40 || p > 0xFC {
			return 0, err
		}
		v, err := read(int(p&^3), 2)
		if err != nil {
			return 0, err
		}
		if v&0xFF == id {
			return int(p &^ 3), nil
		}
		p = v >> 8
	}
	return 0, nil
}
