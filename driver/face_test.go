package driver_test

import (
	"context"
	"flag"
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/mock"
	"github.com/hc1-toolkit/hc1/internal/card"
	"github.com/hc1-toolkit/hc1/internal/emu"
	"github.com/hc1-toolkit/hc1/internal/emu/socket"
	"github.com/hc1-toolkit/hc1/vfio/user"
)

// The whole suite runs over each face of the card:
//
//	go test ./driver -face mock|vfio-user|vfio-user-messages
//
// The last has no shared memory: each access of the card's is a message.
var faceName = flag.String("face", "mock", "how the card is reached: mock, vfio-user or vfio-user-messages")

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
