package arc

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMax(t *testing.T) {
	const mib, gib = uint64(1) << 20, uint64(1) << 30
	for _, c := range []struct{ pool, memory, want uint64 }{
		{0, 0, 64 * mib},
		{10 * gib, 256 * mib, 64 * mib},
		{0, 64 * gib, 256 * mib},
		{100e9, 64 * gib, 256*mib + 300e6},
		{100e12, 16 * gib, 16 * gib / 100 * 20},
	} {
		if got := Max(c.pool, c.memory); got != c.want {
			t.Errorf("Max(%d, %d) = %d, want %d", c.pool, c.memory, got, c.want)
		}
	}
}

// TestGovernor walks through pressure and the time after it.
func TestGovernor(t *testing.T) {
	const mib = uint64(1) << 20
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var g Governor
	for _, s := range []struct {
		at   time.Duration
		p    Pressure
		rule uint64
		used uint64
		want uint64
	}{
		{0, Pressure{}, 800 * mib, 500 * mib, 800 * mib},
		{5 * time.Second, Pressure{Some: 50}, 800 * mib, 500 * mib, 800 * mib}, // too soon after the last change
		{10 * time.Second, Pressure{Some: 50}, 800 * mib, 500 * mib, 375 * mib},
		{12 * time.Second, Pressure{Full: 30}, 800 * mib, 500 * mib, 375 * mib},
		{20 * time.Second, Pressure{Full: 3}, 800 * mib, 375 * mib, 375 * mib / 4 * 3},
		{30 * time.Second, Pressure{Full: 3}, 800 * mib, 10 * mib, 64 * mib},
		{40 * time.Second, Pressure{Full: 3}, 800 * mib, 10 * mib, 64 * mib}, // the floor
		{50 * time.Second, Pressure{}, 800 * mib, 10 * mib, 64 * mib},
		{5 * time.Minute, Pressure{}, 800 * mib, 60 * mib, 64 * mib},
		{6 * time.Minute, Pressure{}, 800 * mib, 60 * mib, 164 * mib},
		{6*time.Minute + 30*time.Second, Pressure{}, 800 * mib, 60 * mib, 164 * mib},
		{7 * time.Minute, Pressure{Some: 2}, 800 * mib, 60 * mib, 164 * mib}, // some pressure: neither
		{8 * time.Minute, Pressure{}, 800 * mib, 60 * mib, 164 * mib},
		{13 * time.Minute, Pressure{}, 800 * mib, 60 * mib, 264 * mib},
		{14 * time.Minute, Pressure{}, 200 * mib, 60 * mib, 200 * mib}, // a pool was exported
		{10 * time.Minute, Pressure{}, 800 * mib, 60 * mib, 200 * mib}, // the clock was set back
		{11 * time.Minute, Pressure{Some: 99}, 800 * mib, 160 * mib, 120 * mib},
	} {
		if got := g.Limit(start.Add(s.at), s.p, s.rule, s.used); got.MaxBytes != s.want || got.MinBytes != MinBytes {
			t.Errorf("after %s: %d MiB, want %d", s.at, got.MaxBytes>>20, s.want>>20)
		}
	}
}

// machine is a Module in memory.
type machine struct {
	stats Stats
	p     Pressure
	sets  int
	// err is the error of Stats, blind that of Pressure.
	err, blind error
}

func (m *machine) Stats() (Stats, error)       { return m.stats, m.err }
func (m *machine) Pressure() (Pressure, error) { return m.p, m.blind }
func (m *machine) SetLimits(l Limits) error {
	m.sets++
	m.stats.MinBytes, m.stats.MaxBytes = l.MinBytes, l.MaxBytes
	return nil
}

func TestStep(t *testing.T) {
	m := &machine{stats: Stats{SizeBytes: 1 << 30, MinBytes: 1 << 29, MaxBytes: 15 << 30}}
	var g Governor
	now := time.Unix(0, 0)
	for range 3 {
		l, err := g.Step(now, m, 512<<20)
		if err != nil || l != (Limits{MinBytes, 512 << 20}) {
			t.Errorf("%+v, %v", l, err)
		}
	}
	if m.sets != 1 || m.stats.MaxBytes != 512<<20 {
		t.Errorf("set %d times, to %d", m.sets, m.stats.MaxBytes)
	}
	m.blind = ErrNoPressure
	if l, err := g.Step(now, m, 256<<20); err != nil || l.MaxBytes != 256<<20 || m.stats.MaxBytes != 256<<20 {
		t.Errorf("where no pressure is measured: %+v, %v", l, err)
	}
	m.blind = os.ErrPermission
	if l, err := g.Step(now, m, 128<<20); !errors.Is(err, os.ErrPermission) || l.MaxBytes != 256<<20 {
		t.Errorf("where it cannot be read: %+v, %v", l, err)
	}
	m.err = os.ErrNotExist
	if _, err := g.Step(now, m, 512<<20); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without statistics: %v", err)
	}
}

const arcstats = `9 1 0x01 147 39984 3513046127 155190826428
name                            type data
hits                            4    1000
misses                          4    20
c                               4    536870912
c_min                           4    33554432
c_max                           4    536870912
size                            4    400000000
mru_evictable_data              4    100
mru_evictable_metadata          4    20
mfu_evictable_data              4    3
mfu_evictable_metadata          4    0
memory_throttle_count           4    7
l2_hits                         4    5
l2_size                         4    6
arc_need_free                   4    0
`

func TestParse(t *testing.T) {
	got, err := ParseStats([]byte(arcstats))
	want := Stats{
		SizeBytes: 400000000, TargetBytes: 536870912, MinBytes: 33554432, MaxBytes: 536870912, EvictableBytes: 123, Hits: 1000, Misses: 20, Throttled: 7, L2SizeBytes: 6, L2Hits: 5,
	}
	if err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
	if _, err := ParseStats([]byte("hits 4 1\n")); err == nil {
		t.Error("statistics without a size pass")
	}
	p, err := ParsePressure([]byte("some avg10=1.50 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.25 avg60=0.00 avg300=0.00 total=1\n"))
	if err != nil || p != (Pressure{Some: 1.5, Full: 0.25}) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, text := range []string{"some avg10=NaN\n", "some avg10=101\n", "some avg60=1\n", "some avg10=\n"} {
		if p, err := ParsePressure([]byte(text)); err == nil {
			t.Errorf("%q is %+v", text, p)
		}
	}
	if _, err := ParsePressure(nil); !errors.Is(err, ErrNoPressure) {
		t.Errorf("nothing: %v", err)
	}
}

func FuzzParseStats(f *testing.F) {
	f.Add([]byte(arcstats))
	f.Add([]byte("size 4 18446744073709551615\nc 4 0\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := ParseStats(text); err != nil && s != (Stats{}) {
			t.Errorf("%+v and %v", s, err)
		}
	})
}

func FuzzParsePressure(f *testing.F) {
	f.Add([]byte("some avg10=1.50 avg60=0.00\nfull avg10=0.25\n"))
	f.Add([]byte("some avg10=1e309\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePressure(text)
		if err == nil && !(p.Some >= 0 && p.Some <= 100 && p.Full >= 0 && p.Full <= 100) {
			t.Errorf("%+v", p)
		}
	})
}

// TestScarce: what is little of the memory, and what cannot be told.
func TestScarce(t *testing.T) {
	for text, want := range map[string]bool{
		"MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 99 kB\n": true, "MemTotal: 1000 kB\nMemAvailable: 100 kB\nHugePages_Total: 0\n": false,
	} {
		if got, err := Scarce([]byte(text)); got != want || err != nil {
			t.Errorf("%q: %t, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "MemAvailable: 100 kB\n", "MemTotal: many kB\n"} {
		if _, err := Scarce([]byte(text)); err == nil {
			t.Errorf("%q is no error", text)
		}
	}
}

func FuzzScarce(f *testing.F) {
	f.Add([]byte("MemTotal: 1000 kB\nMemAvailable: 99 kB\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if scarce, err := Scarce(text); scarce && err != nil {
			t.Error("both")
		}
	})
}
