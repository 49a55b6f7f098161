package machined

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// TestListTurns: so many calls list datasets at once, and one more when one of them has ended. Nobody waits for that without an end.
func TestListTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Agent{lists: make(chan struct{}, maxLists)}
		var ends []func()
		take := func() {
			t.Helper()
			_, end, err := a.turn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, end)
		}
		for range maxLists {
			take()
		}
		if _, _, err := a.turn(t.Context()); !errors.Is(err, server.ErrUnavailable) {
			t.Errorf("one more: %v", err)
		}
		ends[0]()
		take()
		for _, end := range ends[1:] {
			end()
		}
	})
}
