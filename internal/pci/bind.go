package pci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// VFIO is the driver that lends a function to a process.
const VFIO = "vfio-pci"

// Errors of binding.
var (
	ErrNoDriver  = errors.New("the driver is not loaded")
	ErrUnchanged = errors.New("the kernel did as it was told, and the function is not where it should be")
)

// Step is one write to sysfs.
type Step struct {
	Path  string `json:"path"`
	Value string `json:"value"`
	Why   string `json:"why"`
}

// PlanBind is what gives a function to vfio-pci, and nothing else: by
// driver_override, never by new_id, which would take every function with the
// same ids. No step is needed where it is there already.
func (t Tree) PlanBind(f Function) []Step {
	var out []Step
	if f.Driver == VFIO {
		return nil
	}
	if f.Override != VFIO {
		out = append(out, Step{t.path("devices", f.BDF, "driver_override"), VFIO, "this function, and no other, is for vfio-pci"})
	}
	if f.Driver != "" {
		out = append(out, Step{t.path("devices", f.BDF, "driver/unbind"), f.BDF, "take it from " + f.Driver})
	}
	return append(out, Step{t.path("drivers_probe"), f.BDF, "have the kernel look for its driver"})
}

// PlanUnbind is what takes a function from vfio-pci and leaves no trace.
func (t Tree) PlanUnbind(f Function) []Step {
	var out []Step
	if f.Driver == VFIO {
		out = append(out, Step{t.path("devices", f.BDF, "driver/unbind"), f.BDF, "take it from vfio-pci; this waits until whoever has it lets go"})
	}
	if f.Override != "" {
		out = append(out, Step{t.path("devices", f.BDF, "driver_override"), "\n", "it is for no driver in particular"})
	}
	if len(out) > 0 {
		out = append(out, Step{t.path("drivers_probe"), f.BDF, "have the kernel look for its own driver"})
	}
	return out
}

// Do carries steps out. done is told of each before it is done.
func Do(steps []Step, bound time.Duration, done func(Step)) error {
	for _, s := range steps {
		if done != nil {
			done(s)
		}
		if err := write(s, bound); err != nil {
			return err
		}
	}
	return nil
}

// write bounds a write: unbinding a function that a process has waits for it.
func write(s Step, bound time.Duration) error {
	errs := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(s.Path, os.O_WRONLY, 0)
		if err != nil {
			errs <- err
			return
		}
		_, err = f.WriteString(s.Value)
		errs <- errors.Join(err, f.Close())
	}()
	t := time.NewTimer(bound)
	defer t.Stop()
	select {
	case err := <-errs:
		if err != nil {
			return fmt.Errorf("%q to %s: %w", strings.TrimSpace(s.Value), s.Path, err)
		}
		return nil
	case <-t.C:
		return fmt.Errorf("%s: %w: the kernel still waits after %v; whoever has the function has not let go", s.Path, os.ErrDeadlineExceeded, bound)
	}
}

// Bind gives a function to vfio-pci and verifies that it is there.
func (t Tree) Bind(f Function, bound time.Duration, done func(Step)) error {
	if _, err := os.Stat(t.path("drivers", VFIO)); err != nil {
		return fmt.Errorf("%s: %w: modprobe %s", VFIO, ErrNoDriver, VFIO)
	}
	if err := Do(t.PlanBind(f), bound, done); err != nil {
		return err
	}
	return t.verify(f.BDF, VFIO)
}

// Unbind takes a function from vfio-pci and verifies that it is gone.
func (t Tree) Unbind(f Function, bound time.Duration, done func(Step)) error {
	if err := Do(t.PlanUnbind(f), bound, done); err != nil {
		return err
	}
	now, err := t.Get(f.BDF)
	if err != nil {
		return err
	}
	if now.Driver == VFIO || now.Override != "" {
		return fmt.Errorf("%s: %w: driver %q, override %q", f.BDF, ErrUnchanged, now.Driver, now.Override)
	}
	return nil
}

func (t Tree) verify(bdf, driver string) error {
	now, err := t.Get(bdf)
	if err != nil {
		return err
	}
	if now.Driver != driver {
		return fmt.Errorf("%s: %w: driver %q, wanted %q (the kernel's log may say why)", bdf, ErrUnchanged, now.Driver, driver)
	}
	return nil
}

// DevNode is the file by which a function that is bound to vfio-pci is
// reached.
func (t Tree) DevNode(f Function) string {
	if f.Node != "" {
		if _, err := os.Stat(filepath.Join(string(t), "dev/iommu")); err == nil {
			return filepath.Join(string(t), "dev/vfio/devices", f.Node)
		}
	}
	return filepath.Join(string(t), "dev/vfio", fmt.Sprint(f.Group))
}
