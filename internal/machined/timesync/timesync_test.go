package timesync

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ms = time.Millisecond

func TestPick(t *testing.T) {
	a, b, c := Sample{"a", 10 * ms, 5 * ms}, Sample{"b", 12 * ms, 2 * ms}, Sample{"c", time.Hour, ms}
	for name, test := range map[string]struct {
		samples []Sample
		want    string // empty: they disagree
	}{
		"one":                      {[]Sample{a}, "a"},
		"the nearer of two":        {[]Sample{a, b}, "b"},
		"two that disagree":        {[]Sample{a, c}, ""},
		"one of three lies":        {[]Sample{c, a, b}, "b"},
		"a liar of great distance": {[]Sample{{"d", time.Hour, 2 * time.Hour}, a, b}, "b"},
		"half of four":             {[]Sample{a, b, c, {"d", time.Hour, ms}}, ""},
		"they touch":               {[]Sample{{"a", 0, 5 * ms}, {"b", 10 * ms, 5 * ms}}, "a"},
		"all apart":                {[]Sample{{"a", 0, ms}, {"b", 10 * ms, ms}, {"c", 20 * ms, ms}}, ""},
	} {
		got, err := Pick(test.samples)
		if got.Server != test.want || errors.Is(err, ErrDisagree) != (test.want == "") {
			t.Errorf("%s: got %q, %v", name, got.Server, err)
		}
	}
	if _, err := Pick([]Sample{c, a}); err == nil || !strings.HasSuffix(err.Error(), "[a says 10ms c says 1h0m0s]") {
		t.Errorf("the error is %v", err)
	}
}

func TestDecide(t *testing.T) {
	for _, test := range []struct {
		offset time.Duration
		before bool
		want   Correction
	}{
		{0, false, Slew}, {-maxSlew, false, Slew}, {maxSlew + 1, false, Step}, {-24 * 365 * time.Hour, false, Step},
		{maxSlew, true, Slew}, {-maxLater, true, Step}, {maxLater + 1, true, Refuse}, {-maxLater - 1, true, Refuse},
	} {
		if got := Decide(test.offset, test.before); got != test.want {
			t.Errorf("%s, corrected before %t: got %d, want %d", test.offset, test.before, got, test.want)
		}
	}
}

// world is servers and a clock that is off, in a time that the test plays.
type world struct {
	mu      sync.Mutex
	start   time.Time
	floor   time.Time
	servers []string
	off     time.Duration // of the clock, the same for each server that does not lie
	lies    map[string]time.Duration
	silent  map[string]bool
	kept    bool // by a Keep before
	log     []string
}

func (w *world) do(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%s ", time.Since(w.start).Round(time.Second))+fmt.Sprintf(format, args...))
}

func (w *world) query(_ context.Context, server string) (Sample, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent[server] {
		return Sample{}, errors.New("no answer")
	}
	return Sample{Server: server, Offset: w.off + w.lies[server], Distance: 5 * ms}, nil
}

func (w *world) Step(offset time.Duration) error {
	w.do(func() { w.off -= offset; w.note("step %s", offset) })
	return nil
}

func (w *world) Slew(offset, _, poll time.Duration) error {
	w.do(func() { w.off -= offset; w.note("slew %s for %s", offset, poll) })
	return nil
}

func (w *world) Kept() bool { return w.kept }

// play runs a Keep, and do beside it.
func (w *world) play(t *testing.T, do func()) []string {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w.start = time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- Keep(ctx, Config{
				Servers: func() []string { w.mu.Lock(); defer w.mu.Unlock(); return w.servers },
				Query:   w.query, Clock: w, Since: func() time.Duration { return time.Since(w.start) }, Now: time.Now, Floor: w.floor,
				Publish: func(s Status) {
					set := ""
					if s.Steps > 0 {
						set = fmt.Sprintf("(set %d times)", s.Steps)
					}
					w.do(func() { w.note("%v %t %s%s", s.Servers, s.Synchronised, s.Reason, set) })
				},
			})
		}()
		do()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Keep ended with %v", err)
		}
	})
	return w.log
}

// TestKeep: a clock that is far off is set at first, then slewed, and servers are asked less often while it is right.
func TestKeep(t *testing.T) {
	w := &world{servers: []string{"a"}, off: time.Hour}
	got := w.play(t, func() {
		time.Sleep(10 * time.Minute)
		w.do(func() { w.off = 50 * ms })
		time.Sleep(10 * time.Minute)
	})
	want := []string{
		"0s [a] false waiting for a to tell the time", "0s step 1h0m0s", "0s slew 0s for 1m4s", "0s [a] true (set 1 times)",
		"1m4s slew 0s for 2m8s", "3m12s slew 0s for 4m16s", "7m28s slew 0s for 8m32s", "16m0s slew 50ms for 1m4s", "17m4s slew 0s for 2m8s", "19m12s slew 0s for 4m16s",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what was done (-want +got):\n%s", d)
	}
}

// TestKeepAlone: without servers nothing is done, and new ones are asked at once.
func TestKeepAlone(t *testing.T) {
	w := &world{}
	got := w.play(t, func() {
		time.Sleep(5*time.Minute + time.Second) // never when it looks itself, every other second
		w.do(func() { w.servers = []string{"a"} })
		time.Sleep(6 * time.Second)
		w.do(func() { w.servers = []string{"b", "c"}; w.silent = map[string]bool{"c": true} })
		time.Sleep(5 * time.Second)
	})
	want := []string{
		"0s [] false ", "5m2s [a] false waiting for a to tell the time", "5m2s slew 0s for 1m4s", "5m2s [a] true ", "5m8s slew 0s for 1m4s", "5m8s [b c] true ",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what was done (-want +got):\n%s", d)
	}
}

// TestKeepUnderTrouble: silence is borne for an hour, a jump is not believed, and a liar is outvoted.
func TestKeepUnderTrouble(t *testing.T) {
	w := &world{servers: []string{"a"}}
	log := strings.Join(w.play(t, func() {
		time.Sleep(time.Minute)
		w.do(func() { w.silent = map[string]bool{"a": true} })
		time.Sleep(59 * time.Minute)
		w.do(func() { w.note("still right") })
		time.Sleep(3 * time.Minute)
		w.do(func() { w.silent = nil })
		time.Sleep(3 * time.Minute)
		w.do(func() { w.off = 2 * time.Hour })
		time.Sleep(2 * time.Hour)
		w.do(func() {
			w.off = 0
			w.servers = []string{"a", "b", "c"}
			w.lies = map[string]time.Duration{"b": time.Minute}
			w.note("three")
		})
		time.Sleep(time.Minute)
	}), "\n")
	for _, want := range []string{
		"still right\n1h", "[a] false no time server tells the time: a: no answer", "[a] true \n",
		"[a] false a says that the clock is off by 2h0m0s, after it was right", "[a b c] true ",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is missing in:\n%s", want, log)
		}
	}
	if strings.Contains(log, "step") {
		t.Errorf("the clock was set:\n%s", log)
	}
}

// TestKeepAgain: a jump is believed no more by an agent that was started again than by the one before it.
func TestKeepAgain(t *testing.T) {
	w := &world{servers: []string{"a"}, off: 2 * time.Hour, kept: true}
	got := w.play(t, func() { time.Sleep(time.Second) })
	want := []string{
		"0s [a] false waiting for a to tell the time",
		"0s [a] false a says that the clock is off by 2h0m0s, after it was right: this is not believed before the next boot",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what was done (-want +got):\n%s", d)
	}
}

// TestKeepAfterTheBuild: no server takes the clock to a time before the release was built.
func TestKeepAfterTheBuild(t *testing.T) {
	w := &world{servers: []string{"a"}, off: -time.Hour}
	// The time in a bubble of synctest begins with the year 2000.
	w.floor = time.Date(1999, 12, 31, 23, 30, 0, 0, time.UTC)
	got := w.play(t, func() { time.Sleep(time.Second) })
	want := []string{"0s [a] false waiting for a to tell the time", "0s [a] false a says that it is 1999-12-31, when this release was not built yet"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what was done (-want +got):\n%s", d)
	}
}
