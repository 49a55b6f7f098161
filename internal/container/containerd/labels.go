package containerd

import (
	"strconv"
	"time"
)

// The labels that carry a container's history.
const (
	labelHash     = "cyvive.dev/hash"
	labelStarted  = "cyvive.dev/started"      // RFC 3339
	labelRestarts = "cyvive.dev/restarts"     // starts after the first
	labelFailures = "cyvive.dev/failures"     // starts in a row that did not last
	labelSignal   = "cyvive.dev/stop-signal"  // name
	labelTimeout  = "cyvive.dev/stop-timeout" // time.Duration
)

// history is the part of the labels that changes with every start.
type history struct {
	started  time.Time
	restarts int
	failures int
}

// parseHistory reads labels; what is absent or malformed counts as zero.
func parseHistory(labels map[string]string) history {
	var h history
	h.started, _ = time.Parse(time.RFC3339Nano, labels[labelStarted])
	h.restarts = count(labels[labelRestarts])
	h.failures = count(labels[labelFailures])
	return h
}

func count(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0 // Atoi gives the nearest number for one out of range
	}
	return max(0, n)
}

// labels is the inverse of parseHistory.
func (h history) labels() map[string]string {
	return map[string]string{
		labelStarted:  h.started.UTC().Format(time.RFC3339Nano),
		labelRestarts: strconv.Itoa(h.restarts),
		labelFailures: strconv.Itoa(h.failures),
	}
}
