package machined

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// TestWaitingForASource: a source that waits for an address is not one that is wrong, and gets the network that it waits for.
func TestWaitingForASource(t *testing.T) {
	n := startNode(t, t.TempDir(), storagetest.New(0))
	n.source.fail(fmt.Errorf("cloud: %w", &Waiting{For: "an address"}))
	reason := func(want string) func(snapshot) bool {
		return func(s snapshot) bool {
			return s.checks[0].Name == "config" && !s.checks[0].Healthy && s.checks[0].Reason == want
		}
	}
	n.await("what it waits for", reason("cloud: waiting for an address"))
	n.await("the network", func(s snapshot) bool { return healthy(s, "network") })
	n.source.fail(errors.New("no token"))
	n.await("what is wrong", reason("read configuration: no token"))
	n.source.set(documents(t))
	n.await("the configuration", func(s snapshot) bool { return healthy(s, "config") })
	want := []string{"waiting: cloud: waiting for an address", "refused: read configuration: no token", "accepted: host name node1"}
	if d := cmp.Diff(want, n.told(server.EventConfiguration)); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

// told returns the state and reason of the events of a kind.
func (n *node) told(kind server.EventKind) []string {
	n.t.Helper()
	var got []string
	if err := n.events.Stream(n.t.Context(), server.StreamOptions{Tail: -1}, func(e server.Event) error {
		if e.Kind == kind {
			got = append(got, e.State+": "+e.Reason)
		}
		return nil
	}); err != nil {
		n.t.Fatal(err)
	}
	return got
}

// TestGivenUp: a node is without a configuration once all places had their time, and no sooner for one that waits.
func TestGivenUp(t *testing.T) {
	waiting := fmt.Errorf("cloud: %w", &Waiting{For: "an address"})
	p := DefaultPace()
	for _, c := range []struct {
		searched time.Duration
		err      error
		want     bool
	}{
		{0, nil, false}, {p.SearchFor - 1, errors.New("broken"), false}, {p.SearchFor, nil, true}, {p.SearchFor, errors.New("broken"), true},
		{p.SearchFor, waiting, false}, {waitFor - 1, waiting, false}, {waitFor, waiting, true},
	} {
		if got := p.givenUp(c.searched, c.err); got != c.want {
			t.Errorf("after %s with %v: got %t, want %t", c.searched, c.err, got, c.want)
		}
	}
}

func TestUntilNext(t *testing.T) {
	waiting := fmt.Errorf("cloud: %w", &Waiting{For: "an address"})
	p := DefaultPace()
	for _, c := range []struct {
		searched time.Duration
		err      error
		want     time.Duration
	}{
		{0, nil, searchEvery}, {p.SearchFor - 1, errors.New("broken"), searchEvery}, {p.SearchFor - 1, waiting, searchEvery},
		{p.SearchFor, nil, p.SlowSearch}, {p.SearchFor, errors.New("broken"), p.SlowSearch},
		{p.SearchFor, waiting, waitEvery}, {waitFor - 1, waiting, waitEvery}, {waitFor, waiting, p.SlowSearch},
	} {
		if got := p.untilNext(c.searched, c.err); got != c.want {
			t.Errorf("after %s with %v: got %s, want %s", c.searched, c.err, got, c.want)
		}
	}
}
