package vm

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Error(err)
		return
	}
	defer file.Close()
	if _, err := file.WriteString(text); err != nil {
		t.Error(err)
	}
}

func TestConsoleWaitLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	appendTo(t, path, "old: ready\n")
	console := OpenConsole(path)
	ready := regexp.MustCompile(`ready`)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()

	// What was there before does not count; what comes while waiting does.
	time.AfterFunc(pollInterval, func() {
		appendTo(t, path, "one\r\n\x1b[1mtwo ready\x1b[0m\r\nthree ready\nready>")
	})
	for _, want := range []string{"two ready", "three ready", "ready>"} {
		got, err := console.WaitLine(ctx, ready)
		if err != nil || got != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
}

func TestConsoleWaitLineTimesOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	console := OpenConsole(path) // the file comes later, or never
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*pollInterval, context.DeadlineExceeded)
	defer cancel()
	appendTo(t, path, "the reason\n")
	_, err := console.WaitLine(ctx, regexp.MustCompile(`ready`))
	if err == nil || !strings.Contains(err.Error(), "the reason") || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error with the last line and the path", err)
	}
}
