package sourcetest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/machined"
)

// Clock is a clock that a test moves. It may be used concurrently.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns one that stands at the time of a machine without a battery.
func NewClock() *Clock { return &Clock{now: time.Unix(3, 0)} }

// Now is its time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves it on.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Switch is on or off. It may be used concurrently.
type Switch struct{ off atomic.Bool }

// On tells whether it is.
func (s *Switch) On() bool { return !s.off.Load() }

// Set turns it.
func (s *Switch) Set(on bool) { s.off.Store(!on) }

// faults are what a source makes of each: whether it expects that it passes, and a word of the reason.
func faults() []struct {
	fault   Fault
	passing bool
	want    string
} {
	return []struct {
		fault   Fault
		passing bool
		want    string
	}{
		{Down, true, "connection refused"},
		{Reset, true, "connection reset by peer"},
		{Silent, true, "no answer in 2s"},
		{TooMany, true, "429 Too Many Requests"},
		{Unavailable, true, "503 Service Unavailable"},
		{Broken, true, "500 Internal Server Error"},
		{Forbidden, false, "403 Forbidden"},
		{CutOff, true, "was cut off"},
		{OtherProtocol, true, "no proper HTTP"},
		{Unframed, false, "does not say how long it is"},
		{Huge, false, "1048576"},
		{Endless, false, "1048576"},
		{Redirect, false, `redirect to "http://192.0.2.1/elsewhere", which is not followed`},
		{Portal, false, ""},
	}
}

func testRemote(t *testing.T, start func(*testing.T) Subject, open func(*testing.T, time.Duration) Subject) {
	for _, f := range faults() {
		t.Run(string(f.fault), func(t *testing.T) {
			timeout := 10 * time.Second // long for what only answers slowly
			if f.fault == Silent {
				timeout = 2 * time.Second
			}
			s := open(t, timeout)
			s.settle(t)
			s.Place.Put([]byte(documents))
			s.Server.Break(f.fault)
			if f.passing {
				doc, err := s.find(t)
				s.checkWaiting(t, doc, err, f.want)
			} else {
				s.expectError(t, f.want)
			}
			s.expectPause(t, f.fault)
			s.Server.Break("")
			s.expectDocuments(t, documents)
		})
	}
	t.Run("pace", func(t *testing.T) { testPace(t, start(t)) })
	t.Run("no address", func(t *testing.T) { testNoAddress(t, start(t)) })
	t.Run("end", func(t *testing.T) { testEnd(t, start(t)) })
}

// expectPause wants that nobody is asked at once again, and that the reason stays.
func (s Subject) expectPause(t *testing.T, fault Fault) {
	t.Helper()
	s.Server.Requests()
	_, first := s.Source.Find(t.Context())
	pause := 900 * time.Millisecond
	if fault == TooMany {
		pause = (retryAfterSeconds - 1) * time.Second
	}
	s.Clock.Advance(pause)
	_, second := s.Source.Find(t.Context())
	if first == nil || second == nil || first.Error() != second.Error() {
		t.Errorf("while it waits to ask again: %v, then %v", first, second)
	}
	s.expectRequests(t, 0)
	if fault == Down {
		return
	}
	s.Clock.Advance(31 * time.Second)
	if _, again := s.Source.Find(t.Context()); again == nil || again.Error() != first.Error() {
		t.Errorf("the same trouble has another reason: %v, before: %v", again, first)
	}
	if len(s.Server.Requests()) == 0 {
		t.Error("it does not ask again")
	}
}

// testPace counts requests to a server that is not well, looked at four times a second.
func testPace(t *testing.T, s Subject) {
	s.Server.Break(Unavailable)
	s.Server.Requests()
	for range 4 * 600 {
		s.Clock.Advance(250 * time.Millisecond)
		if _, err := s.Source.Find(t.Context()); err == nil {
			t.Fatal("no error")
		}
	}
	// 1, 2, 4, 8 and 16 seconds, then half a minute each.
	if n := len(s.Server.Requests()); n < 20 || n > 26 {
		t.Errorf("%d requests in ten minutes, want some 24", n)
	}
}

func testNoAddress(t *testing.T, s Subject) {
	s.Place.Put([]byte(documents))
	s.Address.Set(false)
	s.expectWaiting(t, "an address")
	s.expectRequests(t, 0)
	s.Address.Set(true)
	s.expectDocuments(t, documents)
}

// testEnd: an agent that ends does not wait for a server, and what it was told then is not kept.
func testEnd(t *testing.T, s Subject) {
	s.Place.Put([]byte(documents))
	if doc, err := s.Source.Find(canceled(t)); doc != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("at the end: got %v, %v", doc, err)
	}
	s.Server.Break(Silent)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Source.Find(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("at the end, with a silent server: %v", err)
	}
	s.Server.Break("")
	doc, err := s.Source.Find(t.Context())
	if doc == nil || err != nil {
		t.Errorf("afterwards: got %v, %v, want the documents", doc, err)
	}
}

func (s Subject) expectWaiting(t *testing.T, want string) {
	t.Helper()
	doc, err := s.Source.Find(t.Context())
	s.checkWaiting(t, doc, err, want)
}

func (s Subject) checkWaiting(t *testing.T, doc *machined.Document, err error, want string) {
	t.Helper()
	var waiting *machined.Waiting
	if doc != nil || !errors.As(err, &waiting) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %d bytes, %v, want that it waits for %q", size(doc), err, want)
	}
}

func (s Subject) expectRequests(t *testing.T, want int) {
	t.Helper()
	if got := s.Server.Requests(); len(got) != want {
		t.Errorf("requests %q, want %d", got, want)
	}
}
