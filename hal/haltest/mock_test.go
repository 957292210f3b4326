package haltest_test

import (
	"testing"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/haltest"
	"github.com/hc1-toolkit/hc1/hal/mock"
	"github.com/hc1-toolkit/hc1/internal/silicon"
)

func engine(t *testing.T) silicon.Engine {
	t.Helper()
	e, err := silicon.NewScript(300, 1000, 1, 2, []uint32{5, 6, 7}, [32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestMock(t *testing.T) {
	e := engine(t)
	for _, clock := range []mock.Clock{mock.Realtime, mock.Fast} {
		t.Run(clock.String(), func(t *testing.T) {
			haltest.Run(t, func(t *testing.T) hal.Function {
				m, err := mock.New(mock.Options{Engine: e, Clock: clock})
				if err != nil {
					t.Fatal(err)
				}
				return m
			})
		})
	}
}
