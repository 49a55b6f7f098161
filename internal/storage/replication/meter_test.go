package replication

import (
	"errors"
	"io"
	"runtime"
	"testing"
)

// TestMeterLeftBehind: how a stream ended can be asked for while a Read of it is under way, which whoever read it has left behind.
func TestMeterLeftBehind(t *testing.T) {
	r, w := io.Pipe()
	m := &meter{ctx: t.Context(), r: r, count: func(int) {}}
	ended := make(chan error, 1)
	go func() {
		_, err := m.Read(make([]byte, 1))
		ended <- err
	}()
	go func() { _ = w.CloseWithError(errCut) }()
	for m.failure() == nil { // the race detector looks on
		runtime.Gosched()
	}
	if err := <-ended; !errors.Is(err, errCut) || !errors.Is(m.failure(), errCut) {
		t.Errorf("got %v, and then %v", err, m.failure())
	}
}
