package driver_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/mock"
	"github.com/hc1-toolkit/hc1/internal/card"
	"github.com/hc1-toolkit/hc1/internal/emu"
	"github.com/hc1-toolkit/hc1/internal/emu/socket"
	"github.com/hc1-toolkit/hc1/tests/vm/job"
	"github.com/hc1-toolkit/hc1/vfio"
	"github.com/hc1-toolkit/hc1/vfio/user"
)

// The whole suite runs over each face of the card:
//
//	go test ./driver -face mock|vfio-user|vfio-user-messages|vfio
//
// vfio-user-messages has no shared memory: each access of the card's is a
// message. vfio is a function that the kernel lends (HC1_TEST_BDF), in a
// virtual machine whose outside makes its card what a test wants (tests/vm).
var faceName = flag.String("face", "mock", "how the card is reached: mock, vfio-user, vfio-user-messages or vfio")

// face is what a test wants to know of the card itself.
type face interface {
	Violations() []card.Violation
}

// overSocket makes a card behind a socket. Time that is counted ends at the
// process: what asks for it runs as fast as it goes, or not at all where it
// is about that time.
func overSocket(t *testing.T, o options) (face, hal.Function) {
	t.Helper()
	if o.World != nil {
		t.Skip("virtual time is in one process")
	}
	if o.Clock == mock.Virtual {
		o.Clock = mock.Fast
	}
	if *faceName == "vfio" {
		return overKernel(t, o)
	}
	cfg := o.Card
	cfg.Engine, cfg.Seed, cfg.Serial, cfg.Faults, cfg.Trace = o.Engine, o.Seed, o.Serial, o.Faults, o.Trace
	var log *slog.Logger
	if testing.Verbose() {
		log = o.cfg.Log
	}
	c, err := socket.New(socket.Options{Card: cfg, Clock: emu.Clock(o.Clock), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "card")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		c.Serve(l)
		close(served)
	}()
	fn, err := user.Dial(context.Background(), path, user.ClientOptions{NoFiles: *faceName == "vfio-user-messages"})
	if err != nil {
		t.Fatal(err)
	}
	return c, &behind{fn, c, served}
}

// behind takes the card down with its only client.
type behind struct {
	*user.Client
	card   *socket.Card
	served chan struct{}
}

func (b *behind) Close() error {
	err := b.Client.Close()
	b.card.Close(0)
	<-b.served
	return err
}

// outside is a card of the machine's outside.
type outside struct {
	t *testing.T
	n int
}

func (x outside) Violations() (out []card.Violation) {
	r, err := job.Ask(job.Request{Do: "violations", Card: x.n})
	if err != nil {
		x.t.Error(err)
	}
	for _, v := range r.Violations {
		out = append(out, card.Violation{What: v})
	}
	return out
}

// overKernel has the outside make the card, and opens it by VFIO.
func overKernel(t *testing.T, o options) (face, hal.Function) {
	t.Helper()
	if strings.HasPrefix(o.fault, "all-ones") {
		t.Skip("a virtual machine's card that has left the bus does not come back")
	}
	n := <-slots()
	give := func() { slots() <- n }
	q := job.Request{Do: "power", Card: n, Engine: "llama", Fast: o.Clock != mock.Realtime, Seed: o.Seed, Serial: o.Serial, Fault: o.fault,
		Minor: o.Card.Minor, Without: o.Card.Without, Context: o.Card.Context, Budget: o.Card.KVBudget, Sessions: o.Card.Sessions}
	if n, ok := scripts.Load(o.Engine); ok {
		q.Engine = fmt.Sprintf("script:%d", n)
	}
	if _, err := job.Ask(q); err != nil {
		t.Fatal(err)
	}
	d, err := vfio.Open(os.Getenv(fmt.Sprintf("HC1_TEST_BDF%d", n)), vfio.Options{Mode: os.Getenv("HC1_TEST_IOMMU"), Log: o.cfg.Log})
	if err != nil {
		t.Fatal(err)
	}
	return outside{t, n}, &borrowed{d, sync.OnceFunc(give)}
}

// slots are the cards that no test has.
var slots = sync.OnceValue(func() chan int {
	all := make(chan int, 16)
	for i := range cap(all) {
		if os.Getenv(fmt.Sprintf("HC1_TEST_BDF%d", i)) != "" {
			all <- i
		}
	}
	return all
})

// borrowed is a function whose card goes back when it is closed.
type borrowed struct {
	*vfio.Device
	give func()
}

func (b *borrowed) Close() error {
	defer b.give()
	return b.Device.Close()
}

// scripts are the engines of script, by how many ids they replay: the outside
// cannot be sent one.
var scripts sync.Map
