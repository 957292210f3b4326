package card

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

func FuzzHang(f *testing.F) {
	f.Fuzz(func(t *testing.T, in []byte) {
		done := make(chan struct{})
		go func() {
			select {
			case <-done:
			case <-time.After(4 * time.Second):
				buf := make([]byte, 1<<16)
				s := buf[:runtime.Stack(buf, true)]
				os.WriteFile(fmt.Sprintf("/tmp/hang.%d", os.Getpid()), s, 0o600)
				os.WriteFile(fmt.Sprintf("/tmp/hang.in.%d", os.Getpid()), in, 0o600)
				panic("hang")
			}
		}()
		playHostile(t, in)
		close(done)
	})
}
