package containerd

import "testing"

func FuzzParseHistory(f *testing.F) {
	f.Add("2026-11-23T04:00:00.000000005Z", "3", "1")
	f.Add("yesterday", "-1", "99999999999999999999")
	f.Fuzz(func(t *testing.T, started, restarts, failures string) {
		h := parseHistory(map[string]string{labelStarted: started, labelRestarts: restarts, labelFailures: failures})
		again := parseHistory(h.labels())
		if !again.started.Equal(h.started) || again.restarts != h.restarts || again.failures != h.failures {
			t.Errorf("%+v was written, %+v read", h, again)
		}
		if h.restarts < 0 || h.failures < 0 {
			t.Errorf("%q and %q count as %d and %d", restarts, failures, h.restarts, h.failures)
		}
	})
}
