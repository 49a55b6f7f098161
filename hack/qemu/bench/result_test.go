package bench

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestCompareAndPrint(t *testing.T) {
	r := &Result{
		Time:       time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC),
		Conditions: Conditions{Accelerator: "tcg", HostProcessors: 4, HostModel: "a processor", NodeProcessors: 2, NodeMemoryBytes: 4 << 30},
		Node: &Figures{
			Boot: Boot{ReadySeconds: 10}, DownloadBytes: 80e6, Idle: Idle{Seconds: 120, CPUSeconds: 3, MemoryBytes: 600e6},
			NodeAPI: &NodeAPI{CallsPerSecond: 1000},
		},
		Baseline: &Figures{Boot: Boot{ReadySeconds: 40}, DownloadBytes: 400e6, Idle: Idle{Seconds: 60, CPUSeconds: 3, MemoryBytes: 1000e6, NetworkBytes: 60e3}},
	}
	r.compare()
	want := map[string]float64{"boot to Ready": 0.25, "download": 0.2, "idle CPU": 0.5, "idle memory": 0.6, "idle network I/O": 0}
	if d := cmp.Diff(want, r.Ratios, cmpopts.EquateApprox(1e-9, 0)); d != "" {
		t.Errorf("ratios (-want +got):\n%s", d)
	}
	var text strings.Builder
	if err := r.Print(&text); err != nil {
		t.Fatal(err)
	}
	lines := map[string][]string{}
	for line := range strings.Lines(text.String()) {
		for _, name := range []string{"boot to Ready", "download", "idle CPU", "idle network I/O", "node API  calls/s", "disk used"} {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name); ok {
				lines[name] = strings.Fields(rest)
			}
		}
	}
	for name, want := range map[string]string{
		"boot to Ready": "s 10 40 0.25 ratio ≤ 0.5", "download": "MB 80 400 0.20 ≤ 100 MB",
		"idle CPU": "s/min 1.5 3 0.50 ratio ≤ 0.75", "idle network I/O": "kB/min 0 60 0.00 ratio ≤ 0.9", "node API  calls/s": "1000 - - -", "disk used": "MB - - - ratio ≤ 0.3",
	} {
		if got := strings.Join(lines[name], " "); got != want {
			t.Errorf("%s: got %q, want %q in\n%s", name, got, want, text.String())
		}
	}
	if !strings.Contains(text.String(), "2026-11-24, tcg") || !strings.Contains(text.String(), "a processor") {
		t.Errorf("the table does not name its date and machine:\n%s", text.String())
	}
}

func TestRowsHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rows() {
		if key := r.name + r.unit; seen[key] {
			t.Errorf("%s is there twice", r.name)
		} else {
			seen[key] = true
		}
	}
}

func TestTimed(t *testing.T) {
	calls := 0
	got, err := timed(t.Context(), 0, func(context.Context) error { calls++; return nil })
	if err != nil || got.Calls != 1 || calls != 1 || got.P50Millis > got.P99Millis {
		t.Errorf("got %+v, %v after %d calls", got, err, calls)
	}
	broken := errors.New("broken")
	if _, err := timed(t.Context(), time.Hour, func(context.Context) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestAwait(t *testing.T) {
	tries := 0
	if _, err := await(t.Context(), "x", func(context.Context) error {
		if tries++; tries < 2 {
			return errors.New("not yet")
		}
		return nil
	}); err != nil || tries != 2 {
		t.Errorf("%v after %d tries", err, tries)
	}
	cause := errors.New("gave up")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err := await(ctx, "the moon", func(context.Context) error { return errStatus })
	if !errors.Is(err, cause) || !errors.Is(err, errStatus) || !strings.Contains(err.Error(), "the moon") {
		t.Errorf("got %v, want what was waited for, why it ended, and what stood in the way", err)
	}
}
