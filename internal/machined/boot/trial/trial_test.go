package trial

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

// variable is a text as efivarfs gives it.
func variable(text string) []byte {
	raw := []byte{6, 0, 0, 0}
	for _, u := range append(utf16.Encode([]rune(text)), 0) {
		raw = binary.LittleEndian.AppendUint16(raw, u)
	}
	return raw
}

func TestCounted(t *testing.T) {
	for name, test := range map[string]struct {
		raw  []byte
		slot string
		want bool
	}{
		"this slot":          {variable(`\loader\entries\cyvive-b+1-1.conf`), "b", true},
		"its last try":       {variable(`\loader\entries\cyvive-b+0-2.conf`), "b", true},
		"upper case":         {variable(`\loader\entries\CYVIVE-B+1-1.CONF`), "b", true},
		"the other slot":     {variable(`\loader\entries\cyvive-a+1-1.conf`), "b", false},
		"no counter":         {variable(`\loader\entries\cyvive-b.conf`), "b", false},
		"another system":     {variable(`\EFI\Linux\other+1-1.efi`), "b", false},
		"no slot":            {variable(`\loader\entries\cyvive-+1-1.conf`), "", false},
		"attributes alone":   {[]byte{6, 0, 0, 0}, "b", false},
		"less than that":     {[]byte{6}, "b", false},
		"half a character":   {append(variable("x")[:6], 'y'), "b", false},
		"not ended by zeros": {variable(`\cyvive-b+1.conf`)[:4+2*16], "b", true},
	} {
		path := filepath.Join(t.TempDir(), "variable")
		if err := os.WriteFile(path, test.raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Counted(path, test.slot); got != test.want || err != nil {
			t.Errorf("%s: got %t, %v", name, got, err)
		}
	}
	if got, err := Counted(filepath.Join(t.TempDir(), "none"), "b"); got || err != nil {
		t.Errorf("without the variable: %t, %v", got, err)
	}
	if _, err := Counted(t.TempDir(), "b"); err == nil {
		t.Error("a variable that cannot be read: no error")
	}
}

// TestSilence: a trial ends when the agent is silent, and only a trial.
func TestSilence(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	g := NewGuard(true, start)
	if why := g.Overdue(at(Silence - time.Second)); why != "" {
		t.Errorf("before its time: %s", why)
	}
	g.Alive(at(Silence - time.Second))
	if why := g.Overdue(at(2*Silence - 2*time.Second)); why != "" {
		t.Errorf("after a sign of life: %s", why)
	}
	if why := g.Overdue(at(2*Silence - time.Second)); !strings.Contains(why, "no sign of life for 3m0s") {
		t.Errorf("silent: %q", why)
	}
	// One that goes on and on and never comes to an end.
	g = NewGuard(true, start)
	for d := time.Duration(0); d < Longest; d += SignEvery {
		g.Alive(at(d))
		if why := g.Overdue(at(d)); why != "" {
			t.Fatalf("after %s: %s", d, why)
		}
	}
	g.Alive(at(Longest))
	if why := g.Overdue(at(Longest)); !strings.Contains(why, "after 1h10m0s") {
		t.Errorf("endless: %q", why)
	}
}

// TestNoTrialIsNeverEnded: whatever the agent says or does not say, and in whatever order.
func TestNoTrialIsNeverEnded(t *testing.T) {
	start := time.Unix(1000, 0)
	never := func(name string, g *Guard) {
		t.Helper()
		for d := time.Duration(0); d < 24*time.Hour; d += 20 * time.Second {
			if why := g.Overdue(start.Add(d)); why != "" {
				t.Fatalf("%s: ended after %s: %s", name, d, why)
			}
		}
	}
	never("silent from the start", NewGuard(false, start))
	g := NewGuard(false, start)
	g.Alive(start) // the agent takes it for a trial
	never("said to be alive once", g)
	g = NewGuard(true, start)
	g.Settle()
	never("settled", g)
	g = NewGuard(true, start)
	g.Settle()
	g.Alive(start)
	never("settled, and another sign of life", g)
}

func FuzzParse(f *testing.F) {
	f.Add(variable(`\loader\entries\cyvive-b+1-1.conf`))
	f.Add([]byte{6, 0, 0, 0, 0, 0xd8})
	f.Fuzz(func(t *testing.T, raw []byte) {
		text := parse(raw)
		if strings.ContainsRune(text, 0) || len(text) > 3*len(raw) {
			t.Errorf("%q became %q", raw, text)
		}
		if names(text, "a") && names(text, "b") {
			t.Errorf("%q names both slots", text)
		}
	})
}
