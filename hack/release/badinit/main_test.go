package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRefusesElsewhere(t *testing.T) {
	dir := t.TempDir()
	cmdline := func(text string) string {
		path := filepath.Join(dir, "cmdline")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		pid        int
		text, want string
	}{
		{2, "roothash=x " + hangWord, "not PID 1"},
		{1, "roothash=x quiet", "command line"},
		{1, "roothash=x " + exitWord, "told"},
	} {
		if err := run(c.pid, cmdline(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("as process %d with %q: %v, want %q", c.pid, c.text, err, c.want)
		}
	}
	for _, c := range []struct {
		parent     int
		text, want string
	}{{2, "roothash=x " + agentWord, "no child of init"}, {1, "roothash=x " + hangWord, "command line"}} {
		if err := agent(c.parent, cmdline(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("as a child of process %d with %q: %v, want %q", c.parent, c.text, err, c.want)
		}
	}
}
