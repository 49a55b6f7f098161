package bench

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

func TestLifeIsPrinted(t *testing.T) {
	r := &Result{Time: time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC), Life: &Life{
		Upgrade: &Upgrade{
			Reboot: Outage{ServiceSeconds: 40, DowntimeSeconds: 50}, Outage: Outage{ServiceSeconds: 50, DowntimeSeconds: 60},
			ReleaseBytes: 90e6, WriteSeconds: 100, BlessedSeconds: 80, WrittenBytes: 450e6,
		},
		Rollbacks: []Rollback{
			{Name: "panic", Reboot: Outage{ServiceSeconds: 40, DowntimeSeconds: 50}, Outage: Outage{ServiceSeconds: 120, DowntimeSeconds: 150}},
			{Name: "full-disk", Note: "of a cluster", Reboot: Outage{ServiceSeconds: 50, DowntimeSeconds: 50}, Outage: Outage{ServiceSeconds: 200, DowntimeSeconds: 250}},
		},
		Memory: &RootMemory{VerityBytes: 200e6, RAMBytes: 500e6},
	}}
	var text strings.Builder
	if err := r.Print(&text); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range strings.Lines(text.String()) {
		if fields := strings.Fields(line); len(fields) > 3 {
			got[strings.Join(fields[:len(fields)-2], " ")] = strings.Join(fields[len(fields)-2:], " ")
		}
	}
	for row, want := range map[string]string{
		"upgrade: from the call to the restart s 100.0 -":                                      "- -",
		"upgrade: from the restart to blessed s 80.0 ordinary reboot":                          "40.0 2.00",
		"upgrade: API silent s 60.0 ordinary reboot":                                           "50.0 1.20",
		"upgrade: written MB 450.0 size of the release":                                        "90.0 5.00",
		"rollback, panic: from the restart to service on the old slot s 120.0 ordinary reboot": "40.0 3.00",
		"rollback, full-disk (of a cluster): API silent s 250.0 ordinary reboot":               "50.0 5.00",
		"memory with the root in RAM MB 500.0 root on verity":                                  "200.0 2.50",
	} {
		if got[row] != want {
			t.Errorf("%s: got %q, want %q in\n%s", row, got[row], want, text.String())
		}
	}
	if strings.Contains(text.String(), "baseline") {
		t.Errorf("a table of what was not measured:\n%s", text.String())
	}
	data, err := json.Marshal(r.Life)
	if err != nil || !strings.Contains(string(data), `"blessedSeconds":80`) || !strings.Contains(string(data), `"serviceSeconds":50`) {
		t.Errorf("JSON: %s, %v", data, err)
	}
}

// TestWatchTrip: silence, a boot that is not where the trip is to lead, and then the right one.
func TestWatchTrip(t *testing.T) {
	silent := errors.New("silent")
	answers := []struct {
		boot, version string
		err           error
	}{{"x", "1", nil}, {"x", "1", nil}, {"", "", silent}, {"y", "2", nil}, {"", "", silent}, {"z", "1", nil}}
	var times []time.Time
	ask := func(context.Context) ([]*machinev1.Boot, error) {
		a := answers[min(len(times), len(answers)-1)]
		times = append(times, time.Now())
		return []*machinev1.Boot{{BootId: a.boot, Version: a.version}}, a.err
	}
	last, served, err := watchTrip(t.Context(), ask, "x", runs("1"))
	if err != nil || len(times) != len(answers) {
		t.Fatalf("%v after %d questions", err, len(times))
	}
	if last.Before(times[1]) || last.After(times[2]) || served.Before(times[5]) {
		t.Errorf("last answer at %s, service at %s; asked at %s", last, served, times)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, errors.New("gave up"))
	defer cancel()
	stuck := func(context.Context) ([]*machinev1.Boot, error) { return []*machinev1.Boot{{BootId: "x"}}, nil }
	if _, _, err := watchTrip(ctx, stuck, "x", anyBoot); err == nil || !strings.Contains(err.Error(), "gave up") || !strings.Contains(err.Error(), "boot x still runs") {
		t.Errorf("got %v", err)
	}
}

func TestOutage(t *testing.T) {
	at := time.Unix(1000, 0)
	got := trip{last: at, restarted: at.Add(5 * time.Second), served: at.Add(30 * time.Second)}.outage()
	if d := cmp.Diff(Outage{ServiceSeconds: 25, DowntimeSeconds: 30}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
