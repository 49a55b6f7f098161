package step

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/images/internal/cache"
)

func runner(t *testing.T) (*Runner, *bytes.Buffer) {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	c, err := cache.Open()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	return &Runner{Cache: c, Out: &out, Now: func() time.Time { return time.Unix(0, 0) }, Repeat: func() string { return "again" }}, &out
}

func TestKey(t *testing.T) {
	if Key("ab", "c") == Key("a", "bc") {
		t.Error("parts with other borders have the same key")
	}
	if first, again := Key("a"), Key("a"); first != again || first == Key("b") {
		t.Error("the key does not stand for the parts")
	}
}

func TestCached(t *testing.T) {
	r, out := runner(t)
	runs := 0
	for range 2 {
		if _, err := r.Cached("s", "k", func(string) error { runs++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if runs != 1 || !strings.Contains(out.String(), "cached") {
		t.Errorf("ran %d times, progress:\n%s", runs, out)
	}
}

func TestFailureSaysHowToRepeat(t *testing.T) {
	r, out := runner(t)
	broken := errors.New("broken")
	if err := r.Do("s", func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(out.String(), "to repeat it: again") {
		t.Errorf("progress:\n%s", out)
	}
}

func TestCommandKeepsOutput(t *testing.T) {
	r, _ := runner(t)
	err := r.Command(t.Context(), "s", exec.Command("sh", "-c", "seq 100; echo last words >&2; exit 3"))
	if err == nil || !strings.Contains(err.Error(), "last words") || strings.Contains(err.Error(), "\n  50\n") {
		t.Errorf("error is %v", err)
	}
	if b, err := os.ReadFile(r.Cache.Log("s")); err != nil || !strings.Contains(string(b), "\n50\n") {
		t.Errorf("log holds %q, %v", b, err)
	}
	if err := r.Command(t.Context(), "s", exec.Command("true")); err != nil {
		t.Error(err)
	}
}
