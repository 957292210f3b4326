package vfio_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/vfio"
)

// inject has the kernel's aer_inject make an error of a function, as if its
// port had reported it (struct aer_error_inj of drivers/pci/pcie/aer_inject.c).
func inject(t *testing.T, bdf string, uncorrectable, correctable uint32) {
	t.Helper()
	var domain, bus, dev, fn int
	if _, err := fmt.Sscanf(bdf, "%x:%x:%x.%x", &domain, &bus, &dev, &fn); err != nil {
		t.Fatal(err)
	}
	b := []byte{byte(bus), byte(dev), byte(fn), 0}
	for _, v := range []uint32{uncorrectable, correctable, 0, 0, 0, 0, uint32(domain)} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	f, err := os.OpenFile("/dev/aer_inject", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
}

// An uncorrectable error that the bus reports reaches whoever has the card; a
// correctable one is the kernel's business. The card works afterwards.
func TestAER(t *testing.T) {
	bdf := os.Getenv("HC1_TEST_AER")
	if bdf == "" {
		t.Skip("HC1_TEST_AER names no function")
	}
	d, err := vfio.Open(bdf, vfio.Options{Mode: os.Getenv("HC1_TEST_IOMMU")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	const receiverError, completionTimeout = 1 << 0, 1 << 14
	inject(t, bdf, 0, receiverError)
	time.Sleep(300 * time.Millisecond)
	if ev := d.Events(); ev != nil {
		t.Errorf("events of a correctable error: %v", ev)
	}
	inject(t, bdf, completionTimeout, 0) // not fatal by the card's severity
	var got []hal.Event
	for range 500 {
		if got = append(got, d.Events()...); len(got) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if len(got) != 1 || got[0].Kind != hal.EventError {
		t.Fatalf("events of an uncorrectable error: %v", got)
	}
	if id, err := d.ReadConfig(0, 4); err != nil || id == 0xFFFF_FFFF {
		t.Errorf("afterwards: %#x, %v", id, err)
	}
}
