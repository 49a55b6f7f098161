package vm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
)

// Console follows the file that a guest's serial port writes to. It must not be
// used by two goroutines at once.
type Console struct {
	path   string
	offset int64
	rest   []byte
	recent []string
}

// recentLines is how many lines an error of WaitLine shows.
const recentLines = 15

// OpenConsole follows a console from its present end; the file need not exist
// yet.
func OpenConsole(path string) *Console {
	c := &Console{path: path}
	if info, err := os.Stat(path); err == nil {
		c.offset = info.Size()
	}
	return c
}

// Path names the file, for messages to a person.
func (c *Console) Path() string { return c.path }

// WaitLine returns the next line that matches. Lines are passed over for good:
// a later call begins behind the match. When the context ends first, the error
// carries the last lines that came.
func (c *Console) WaitLine(ctx context.Context, pattern *regexp.Regexp) (string, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if err := c.fill(); err != nil {
			return "", fmt.Errorf("read console: %w", err)
		}
		for {
			line, ok := c.next()
			if !ok {
				break
			}
			if pattern.MatchString(line) {
				return line, nil
			}
		}
		// A prompt, or the last words before a halt, may lack the newline.
		if line := clean(c.rest); line != "" && pattern.MatchString(line) {
			c.rest = nil
			return line, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("wait for %q on the console %s: %w; the last lines:\n%s",
				pattern, c.path, context.Cause(ctx), strings.Join(c.recent, "\n"))
		case <-tick.C:
		}
	}
}

// fill reads what was added to the file.
func (c *Console) fill() error {
	file, err := os.Open(c.path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	data, err := io.ReadAll(io.NewSectionReader(file, c.offset, 1<<62))
	c.offset += int64(len(data))
	c.rest = append(c.rest, data...)
	return err
}

func (c *Console) next() (string, bool) {
	end := bytes.IndexByte(c.rest, '\n')
	if end < 0 {
		return "", false
	}
	line := clean(c.rest[:end])
	c.rest = c.rest[end+1:]
	if c.recent = append(c.recent, line); len(c.recent) > recentLines {
		c.recent = c.recent[1:]
	}
	return line, true
}

// terminal matches the escape sequences of ECMA-48 that firmware and boot
// loaders draw with.
var terminal = regexp.MustCompile("\x1b(\\[[0-9;?=]*[A-Za-z]|[()][A-Z0-9]|[=>])")

// clean drops terminal sequences, carriage returns and other control bytes.
func clean(line []byte) string {
	line = terminal.ReplaceAll(line, nil)
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' {
			return -1
		}
		return r
	}, string(line))
}
