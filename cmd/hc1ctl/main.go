// Command hc1ctl is the operator's tool for hc1 cards.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// A reader that has had enough (head) must not kill us before the card is
	// given back: writes fail with EPIPE instead.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, signals: signals}
	os.Exit(a.execute(context.Background(), os.Args[1:]))
}
