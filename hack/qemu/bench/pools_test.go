package bench

import (
	"strings"
	"testing"
	"time"
)

func TestParsePeak(t *testing.T) {
	for text, want := range map[string]int64{
		"Name:\tmachined\nVmPeak:\t  900 kB\nVmHWM:\t   51200 kB\nVmRSS:\t  40000 kB\n": 50 << 20, "VmHWM:\t0 kB": 0,
		"": -1, "VmRSS:\t1 kB\n": -1, "VmHWM:\tmuch kB\n": -1, "VmHWM:\t-1 kB\n": -1,
	} {
		got, err := parsePeak(text)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
}

func FuzzParsePeak(f *testing.F) {
	f.Add("VmHWM:\t   51200 kB\n")
	f.Fuzz(func(t *testing.T, status string) {
		if n, err := parsePeak(status); n < 0 || err != nil && n != 0 {
			t.Errorf("%q: %d, %v", status, n, err)
		}
	})
}

func TestPoolsArePrinted(t *testing.T) {
	r := &Result{Time: time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC), Life: &Life{Pools: &Pools{
		Datasets: 201, MachinedBytesBefore: 40e6, MachinedBytes: 44e6,
		Snapshots: 10050, ListSeconds: 3, PlanSeconds: 4, ProgramSeconds: 2, MachinedPeakBytes: 60e6, ProgramPeakBytes: 20e6, SpareSeconds: 5,
	}}}
	var text strings.Builder
	if err := r.Print(&text); err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(text.String()), " ")
	for _, want := range []string{
		"machined with 201 datasets MB 44.0 with none 40.0 1.10", "10050 snapshots: list over the API s 3.0 one zfs list 2.0 1.50",
		"10050 snapshots: what a schedule prunes s 4.0 one zfs list 2.0 2.00", "10050 snapshots: machined MB 60.0 before 44.0 1.36", "10050 snapshots: most memory of machined MB 60.0 one zfs list 20.0 3.00",
		"a disk is pulled: until its spare is being filled s 5.0 - - -",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("%s\nlacks %s", text.String(), want)
		}
	}
}
