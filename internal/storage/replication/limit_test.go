package replication_test

import (
	"testing"
	"time"
)

// TestRateLimit: all streams of a run together are no faster than the limit, but for what may come at once.
func TestRateLimit(t *testing.T) {
	const limit, atOnce = 512 << 10, 256 << 10
	p := newPair(t, models)
	p.bytes, p.job.Steps, p.job.BytesPerSecond = 100_000, 2, limit
	p.create("x")
	p.write("", "x")
	p.snapshot("1")
	start := time.Now()
	report := p.ok()
	took := time.Since(start)
	var sent uint64
	for _, f := range report.FileSystems {
		sent += f.BytesSent
	}
	if sent < 2*atOnce {
		t.Fatalf("%d bytes were sent, want twice what may come at once", sent)
	}
	if least := time.Duration(sent-atOnce) * time.Second / limit; took < least*9/10 {
		t.Errorf("%d bytes were sent in %s, want %s at least", sent, took, least)
	}
}
