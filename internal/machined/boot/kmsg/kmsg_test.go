package kmsg

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	log := New(&b).Logger("init")
	log.Debug("not shown")
	log.Info("started", "pid", 7, "name", "a b")
	log.With("step", "1/2").WithGroup("disk").Warn("slow", "name", "vda", slog.Group("part", "n", 1))
	log.Error("broken", "err", errors.New(`bad "x"`), "empty", "")
	log.Info("two\nlines")
	want := "<30>init: started pid=7 name=\"a b\"\n" +
		"<28>init: slow step=1/2 disk.name=vda disk.part.n=1\n" +
		"<27>init: broken err=\"bad \\\"x\\\"\" empty=\"\"\n" +
		"<30>init: two\n<30>lines\n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

// TestLongLinesAreSplit: no record exceeds what the kernel takes, and no rune
// is torn.
func TestLongLinesAreSplit(t *testing.T) {
	text := strings.Repeat("längere Zeile ", 300)
	var b bytes.Buffer
	New(&b).Emit(Err, text)
	var joined strings.Builder
	for line := range strings.Lines(b.String()) {
		if len(line) > 1024-48 {
			t.Errorf("record of %d bytes", len(line))
		}
		if !utf8.ValidString(line) {
			t.Errorf("torn rune in %q", line)
		}
		joined.WriteString(strings.TrimSuffix(strings.TrimPrefix(line, "<27>"), "\n"))
	}
	if joined.String() != text {
		t.Error("the parts are not the whole")
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("héllo", uint8(3))
	f.Add("\xff\xff\xff\xff\xff\xff", uint8(2))
	f.Fuzz(func(t *testing.T, s string, n uint8) {
		limit := int(n%64) + utf8.UTFMax + 1
		parts := split(s, limit)
		if strings.Join(parts, "") != s {
			t.Fatalf("split(%q, %d) = %q loses text", s, limit, parts)
		}
		for _, p := range parts {
			if len(p) > limit {
				t.Fatalf("part of %d bytes, limit %d", len(p), limit)
			}
		}
	})
}
