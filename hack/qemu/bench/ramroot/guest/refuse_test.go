package main

import (
	"os"
	"strings"
	"testing"
)

// TestRefuseHere: a machine that runs this test is not one that is measured.
func TestRefuseHere(t *testing.T) {
	for pid, want := range map[int]string{os.Getpid(): "PID 1 of a machine", 1: "/proc is mounted"} {
		if err := refuse(pid); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("as process %d: got %v, want %q", pid, err, want)
		}
	}
}
