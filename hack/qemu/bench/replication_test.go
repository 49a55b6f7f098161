package bench

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const replicationLine = `figures {"stepBytes":30000000,"programSeconds":[1,2],"jobSeconds":[1.5,2.5],` +
	`"emptyProgramSeconds":[0.4,0.6],"emptyJobSeconds":[2,4],"cutStepBytes":40000000,"cutBytes":21000000,"savedBytes":20000000,"resumedBytes":20100000,"recordBytes":131072}`

func TestParseReplication(t *testing.T) {
	want := &Replication{
		StepBytes: 30e6, ProgramSeconds: []float64{1, 2}, JobSeconds: []float64{1.5, 2.5},
		EmptyProgramSeconds: []float64{0.4, 0.6}, EmptyJobSeconds: []float64{2, 4}, CutStepBytes: 40e6, CutBytes: 21e6, SavedBytes: 20e6, ResumedBytes: 20.1e6,
		RecordBytes: 128 << 10,
	}
	got, err := parseReplication("=== RUN   TestVMFigures\n\n" + replicationLine + "\n--- PASS: TestVMFigures (60.00s)\n")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("figures (-want +got):\n%s", d)
	}
	for _, text := range []string{"", "PASS\n", "figures {", `figures {"jobSeconds":[1]}`, `figures {"emptyJobSeconds":[1]}`} {
		if got, err := parseReplication(text); err == nil {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

func FuzzParseReplication(f *testing.F) {
	f.Add(replicationLine)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseReplication(text)
		if (r == nil) != (err != nil) {
			t.Fatalf("%q: %v, %v", text, r, err)
		}
		for _, row := range r.rows() {
			if row.value < 0 && r.StepBytes >= 0 {
				t.Errorf("%q: %+v", text, row)
			}
		}
	})
}

func TestReplicationIsPrinted(t *testing.T) {
	measured, err := parseReplication(replicationLine)
	if err != nil {
		t.Fatal(err)
	}
	r := &Result{Time: time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC), Life: &Life{Replication: measured}}
	var text strings.Builder
	if err := r.Print(&text); err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(text.String()), " ")
	for _, want := range []string{
		"replication over mutual TLS, steps of 30 MB MB/s 15.0 zfs send | zfs receive 20.0 0.75",
		"replication over mutual TLS, a step without contents s 3.0 zfs send | zfs receive 0.5 6.00",
		"replication cut: of what was kept, sent again kB 100.0 one record 131.1 0.76",
		"replication cut: on its way, and sent again kB 1000.0 - - -",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("%s\nlacks %s", text.String(), want)
		}
	}
}
