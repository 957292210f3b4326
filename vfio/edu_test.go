package vfio_test

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/vfio"
)

// Registers of QEMU's edu device (docs/specs/edu.rst): a BAR of 1 MiB, MSI, a
// DMA engine that reaches 28 bits of address and has a buffer of 4 KiB.
const (
	eduID        = 0x00
	eduLive      = 0x04
	eduFactorial = 0x08
	eduStatus    = 0x20
	eduIRQStatus = 0x24
	eduIRQAck    = 0x64
	eduFrom      = 0x80
	eduTo        = 0x88
	eduCount     = 0x90
	eduCommand   = 0x98

	eduBuffer = 0x40000
	eduReach  = 1<<28 - 1
)

// A device that is not ours, start to end: this is docs/own-device.md.
func TestEdu(t *testing.T) {
	for _, kind := range []string{"", "msi", "intx"} {
		t.Run("interrupts "+kind, func(t *testing.T) { edu(t, kind) })
	}
}

func edu(t *testing.T, kind string) {
	bdf := os.Getenv("HC1_TEST_EDU")
	if bdf == "" {
		t.Skip("HC1_TEST_EDU names no function")
	}
	d, err := vfio.Open(bdf, vfio.Options{Mode: os.Getenv("HC1_TEST_IOMMU"), MaxAddress: eduReach, Interrupts: kind})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	if id, err := d.ReadConfig(0, 4); err != nil || id != 0x11e8_1234 {
		t.Fatalf("ids %#x, %v", id, err)
	}
	command, err := d.ReadConfig(4, 2)
	if err == nil {
		err = d.WriteConfig(4, 2, command|1<<1|1<<2) // memory, bus master
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Region(0)
	if err != nil || r.Size() != 1<<20 {
		t.Fatalf("BAR 0: %v", err)
	}
	if v := r.Load32(eduID); v&0xFF != 0xED {
		t.Fatalf("identification %#x", v)
	}
	r.Store32(eduLive, 0x1234_5678)
	if v := r.Load32(eduLive); v != ^uint32(0x1234_5678) {
		t.Errorf("liveness %#x", v)
	}
	vectors, err := d.Vectors(1)
	if err != nil {
		t.Fatal(err)
	}
	interrupt := func(what string) {
		t.Helper()
		if fired, err := vectors[0].Wait(10 * time.Second); !fired || err != nil {
			t.Fatalf("%s: interrupt %v, %v", what, fired, err)
		}
		r.Store32(eduIRQAck, r.Load32(eduIRQStatus))
	}
	for range 3 { // a line that was masked once must come again
		r.Store32(eduStatus, 0x80) // an interrupt when it is done
		r.Store32(eduFactorial, 10)
		interrupt("factorial")
	}
	if v := r.Load32(eduFactorial); v != 3628800 {
		t.Errorf("10! = %d", v)
	}

	// Host memory to the device's buffer, and back to other memory.
	out, err := d.AllocDMA(4096, hal.CardReads)
	if err != nil {
		t.Fatal(err)
	}
	in, err := d.AllocDMA(4096, hal.CardWrites)
	if err != nil {
		t.Fatal(err)
	}
	if out.IOVA > eduReach || in.IOVA > eduReach {
		t.Fatalf("addresses %#x, %#x beyond what the device reaches", out.IOVA, in.IOVA)
	}
	for i := range out.Bytes {
		out.Bytes[i] = byte(i * 7)
	}
	copyDMA := func(from, to uint64, command uint32) {
		r.Store64(eduFrom, from)
		r.Store64(eduTo, to)
		r.Store64(eduCount, 1024)
		r.Store32(eduCommand, command|1|4) // start, and an interrupt when it is done
	}
	copyDMA(out.IOVA, eduBuffer, 0)
	interrupt("DMA to the device")
	copyDMA(eduBuffer, in.IOVA, 2)
	interrupt("DMA from the device")
	if !bytes.Equal(in.Bytes[:1024], out.Bytes[:1024]) || bytes.Contains(in.Bytes[1024:], []byte{7}) {
		t.Error("what came back is not what went out")
	}
	// Memory that it may only read stays as it is.
	before := bytes.Clone(out.Bytes)
	r.Store32(eduLive, 0)
	copyDMA(eduBuffer, out.IOVA+2048, 2)
	interrupt("DMA that the IOMMU refuses")
	if !bytes.Equal(before, out.Bytes) {
		t.Error("memory that the device only reads was written")
	}
}
