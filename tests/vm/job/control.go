package job

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Request asks the outside for something, over the guest's second serial
// line: a line of JSON there, a line of JSON back.
type Request struct {
	Do   string `json:"do"` // power, violations, kill
	Card int    `json:"card"`

	// For power: another card in the place of the one that is there.
	Engine   string `json:"engine"` // llama, or script:N
	Fast     bool   `json:"fast"`
	Seed     uint64 `json:"seed"`
	Serial   uint64 `json:"serial"`
	Fault    string `json:"fault"`
	Minor    uint8  `json:"minor"`
	Without  uint32 `json:"without"`
	Context  int    `json:"context"`
	Budget   int    `json:"budget"`
	Sessions int    `json:"sessions"`
}

// Reply is the answer.
type Reply struct {
	Error      string   `json:"error"`
	Violations []string `json:"violations"`
}

// Line is the guest's end.
const Line = "/dev/ttyS1"

// Ask sends a request to the outside and waits for its reply.
func Ask(q Request) (r Reply, err error) {
	f, err := os.OpenFile(Line, os.O_RDWR, 0)
	if err != nil {
		return r, err
	}
	defer f.Close()
	if err := raw(f); err != nil {
		return r, err
	}
	b, err := json.Marshal(q)
	if err != nil {
		return r, err
	}
	if _, err := f.Write(append(b, '\n')); err != nil {
		return r, err
	}
	line, err := bufio.NewReader(f).ReadBytes('\n')
	if err != nil {
		return r, fmt.Errorf("reply to %s: %w", q.Do, err)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("reply to %s: %w in %q", q.Do, err, line)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// Serve answers requests from a guest until its end of the line closes.
func Serve(c io.ReadWriter, answer func(Request) Reply) error {
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		var q Request
		r := Reply{}
		if err := json.Unmarshal(line, &q); err != nil {
			r.Error = err.Error()
		} else {
			r = answer(q)
		}
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if _, err := c.Write(append(b, '\n')); err != nil {
			return err
		}
	}
}
