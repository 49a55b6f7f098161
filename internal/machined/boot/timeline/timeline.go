// Package timeline keeps when the boot reached its milestones, as lines of
// JSON in a file that the programs of the node append to, one after the
// other: stage 1, init, machined.
package timeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultPath is the file on the node.
const DefaultPath = "/run/cyvive/timeline.jsonl"

// Milestone is one line: a name, and the time since the kernel's start
// (CLOCK_BOOTTIME, clock_gettime(2)).
type Milestone struct {
	Name     string        `json:"name"`
	BootTime time.Duration `json:"boottime"` // nanoseconds
}

// Now is the time since the kernel's start.
func Now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// Append adds milestones to the file at path, in one write.
func Append(path string, list ...Milestone) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, m := range list {
		if err := enc.Encode(m); err != nil {
			return fmt.Errorf("encode milestone: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("append milestone: %w", err)
	}
	defer f.Close()
	if _, err := f.Write(b.Bytes()); err != nil {
		return fmt.Errorf("append milestone: %w", err)
	}
	return nil
}

// Read returns the milestones in the file, in its order. A last line without
// its end is left out.
func Read(path string) ([]Milestone, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read timeline: %w", err)
	}
	return parse(raw)
}

func parse(raw []byte) ([]Milestone, error) {
	var list []Milestone
	for line := range bytes.Lines(raw) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		var m Milestone
		if err := json.Unmarshal(line, &m); err != nil {
			return nil, fmt.Errorf("read timeline: line %d: %w", len(list)+1, err)
		}
		list = append(list, m)
	}
	return list, nil
}
