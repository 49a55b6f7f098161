package configstore

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// walk is a store that things happen to at random, and what the node has to be by it.
type walk struct {
	random *rand.Rand
	now    *running
	disk   *disk
	store  *Store
	boots  int
	// good is the document of the node in its next boot, tried the one that it has until then or until its time has passed; empty if none is.
	good, staged, tried string
	until               time.Duration
	written             int
}

// TestWalk lets operators, crashes of the agent, boots, time and power cuts happen in any order, and holds the store against what it should be.
func TestWalk(t *testing.T) {
	steps := 3000
	if testing.Short() {
		steps = 500
	}
	for seed := range uint64(5) {
		w := &walk{random: rand.New(rand.NewPCG(seed, 1)), now: &running{boot: "0"}, disk: newDisk()}
		w.store = w.now.open(t, w.disk)
		for step := range steps {
			what := w.step(t)
			want := w.good
			if w.tried != "" {
				want = w.tried
			}
			if got := holds(w.store); got != want || len(w.store.Problems()) > 0 {
				t.Fatalf("seed %d, step %d, %s: the store has %q, want %q; problems %q", seed, step, what, got, want, w.store.Problems())
			}
		}
		entries, err := w.store.History()
		if err != nil || len(entries) > Keep+4 {
			t.Errorf("seed %d: %d revisions are kept, %v", seed, len(entries), err)
		}
	}
}

// step does one thing at random, and says what.
func (w *walk) step(t *testing.T) string {
	t.Helper()
	switch w.random.IntN(9) {
	case 0, 1:
		return w.change(Auto, func(document string) { w.good, w.staged = document, "" })
	case 2:
		return w.change(Stage, func(document string) { w.staged = document })
	case 3:
		return w.change(Try, func(document string) { w.tried, w.until, w.staged = document, w.now.since+time.Minute, "" })
	case 4:
		if err := w.store.Change(func(r Record) (Record, error) { return r.Confirmed(0, true, start) }); err == nil {
			w.good, w.tried = w.tried, ""
		}
		return "confirm"
	case 5:
		if err := w.store.Revert("no"); err == nil {
			w.tried = ""
		}
		return "revert"
	case 6:
		w.now.since += 40 * time.Second
		w.reopen(t)
		return "the agent crashes"
	case 7:
		w.boot(t)
		return "boot"
	default:
		return w.cut(t)
	}
}

// change adds a revision; done takes it over where nothing stands against it.
func (w *walk) change(mode Mode, done func(document string)) string {
	w.written++
	document := fmt.Sprintf("document %d", w.written)
	_, err := w.store.Add(Revision{Mode: mode, Document: []byte(document)}, func(r Record, n uint64) (Record, error) {
		switch mode {
		case Stage:
			return r.Stages(n)
		case Try:
			return r.Tries(n, w.now.since+time.Minute)
		}
		return r.Applied(n, w.random.IntN(2) == 0)
	})
	if err == nil {
		done(document)
	}
	return string(mode)
}

func (w *walk) reopen(t *testing.T) {
	t.Helper()
	w.store = w.now.open(t, w.disk)
	if w.tried != "" && w.now.since >= w.until {
		w.tried = ""
	}
}

func (w *walk) boot(t *testing.T) {
	t.Helper()
	w.boots++
	w.now = &running{boot: fmt.Sprint(w.boots)}
	w.tried = ""
	if w.staged != "" {
		w.good, w.staged = w.staged, ""
	}
	w.reopen(t)
}

// cut is a power cut in the middle of a change, after which any of the disk's fates may be. Which of the two it was is read back.
func (w *walk) cut(t *testing.T) string {
	t.Helper()
	applied := ""
	w.disk.left = w.random.IntN(9)
	what := w.change(Auto, func(document string) { applied = document })
	maybe := fmt.Sprintf("document %d", w.written)
	fates := w.disk.fates()
	w.disk = fates[w.random.IntN(len(fates))]
	tried := w.tried != ""
	w.boot(t)
	if got := holds(w.store); applied != "" || got == maybe && !tried {
		w.good, w.staged = maybe, ""
	}
	return "a power cut during " + what
}
