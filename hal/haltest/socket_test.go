package haltest_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/haltest"
	"github.com/hc1-toolkit/hc1/internal/card"
	"github.com/hc1-toolkit/hc1/internal/emu"
	"github.com/hc1-toolkit/hc1/internal/emu/socket"
	"github.com/hc1-toolkit/hc1/vfio/user"
)

// One card behind a socket, opened again and again: with its memory shared,
// and with every access of the card's a message.
func TestVFIOUser(t *testing.T) {
	for name, o := range map[string]user.ClientOptions{"shared memory": {}, "messages": {NoFiles: true}} {
		t.Run(name, func(t *testing.T) {
			c, err := socket.New(socket.Options{Card: card.Config{Engine: engine(t)}, Clock: emu.Realtime})
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "card")
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- c.Serve(l) }()
			defer func() {
				if err := c.Close(0); err != nil {
					t.Error(err)
				}
				<-served
			}()
			haltest.Run(t, func(t *testing.T) hal.Function {
				f, err := user.Dial(context.Background(), path, o)
				if err != nil {
					t.Fatal(err)
				}
				return f
			})
		})
	}
}
