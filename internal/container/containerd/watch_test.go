package containerd

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/filters"
)

// TestGather: one event is told of at once, a swarm once more, and a flood as often as its
// pauses are over; of a flood no more is read than that.
func TestGather(t *testing.T) { synctest.Test(t, testGather) }

func testGather(t *testing.T) {
	in, ended := make(chan int), make(chan error)
	sent, stop := 0, make(chan struct{})
	send := func(n int) {
		for range n {
			select {
			case in <- 0:
				sent++
			case <-stop:
				return
			}
		}
	}
	start := time.Now()
	expect := func(what string, after time.Duration) {
		t.Helper()
		if !gather(in, ended, time.After(eventPause)) {
			t.Errorf("%s: got an end", what)
		}
		if got := time.Since(start); got != after {
			t.Errorf("%s: told of %s after the beginning, want %s", what, got, after)
		}
	}
	go func() {
		time.Sleep(10 * eventPause)
		send(1) // at once
		send(3) // once more
		time.Sleep(10 * eventPause)
		send(1 << 30)
	}()
	expect("one after a long silence", 10*eventPause)
	expect("a swarm", 11*eventPause)
	for n := range 4 {
		expect("a flood", time.Duration(20+n)*eventPause)
	}
	synctest.Wait()
	if most := 4 + 4*eventBurst; sent < 4 || sent > most {
		t.Errorf("%d events were read, want at most %d", sent, most)
	}
	close(stop)
	synctest.Wait()
	close(ended)
	if gather(in, ended, time.After(eventPause)) {
		t.Error("after the end: got events")
	}
}

func TestEventFilter(t *testing.T) {
	filter, err := filters.Parse(eventFilter("system"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		namespace, topic string
		want             bool
	}{
		{"system", "/tasks/exit", true},
		{"system", "/tasks/start", true},
		{"k8s.io", "/tasks/exit", false},
		{"system", "/tasks/exec-started", false},
		{"system", "/containers/create", false},
	} {
		if got := filter.Match(&events.Envelope{Namespace: test.namespace, Topic: test.topic}); got != test.want {
			t.Errorf("%s in %s: got %t", test.topic, test.namespace, got)
		}
	}
}
