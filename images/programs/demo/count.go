package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"
)

// countEvery is the pause between two numbers: a processor that is emulated has
// others to run too.
const countEvery = 2 * time.Millisecond

// counter counts into files, one number after the other: each goes into all of
// them, in their order, before the next does. So of files that were copied in one
// moment, none is more than one behind the first, and none before it.
type counter struct {
	mu sync.Mutex
	// stop is nil until something is counted; last and err are there once done is closed.
	stop context.CancelFunc
	done chan struct{}
	last uint64
	err  error
}

// start has files be counted into, unless it was called before.
func (c *counter) start(paths []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop, c.done = stop, make(chan struct{})
	go func() {
		defer close(c.done)
		c.last, c.err = count(ctx, paths)
	}()
}

// end ends that, and returns the last number.
func (c *counter) end() (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop == nil {
		return 0, errors.New("nothing was counted")
	}
	c.stop()
	<-c.done
	return c.last, c.err
}

// count counts until ctx ends, and returns the last number that all files have. A
// number is written over the one before at once, and is as long; so at no time a
// file has half of one.
func count(ctx context.Context, paths []string) (last uint64, err error) {
	files := make([]*os.File, len(paths))
	for i, path := range paths {
		if files[i], err = os.Create(path); err != nil {
			return 0, err
		}
		defer files[i].Close()
	}
	for ctx.Err() == nil {
		for _, f := range files {
			if _, err := f.WriteAt(fmt.Appendf(nil, "%020d", last+1), 0); err != nil {
				return last, err
			}
		}
		last++
		time.Sleep(countEvery)
	}
	return last, nil
}

// countPages serve a counter.
func countPages(m *http.ServeMux) {
	var c counter
	m.HandleFunc("GET /count", func(w http.ResponseWriter, r *http.Request) {
		c.start(r.URL.Query()["path"])
		fmt.Fprintln(w, "ok")
	})
	m.HandleFunc("GET /counted", func(w http.ResponseWriter, _ *http.Request) {
		last, err := c.end()
		if err != nil {
			http.Error(w, errorName(err), http.StatusConflict)
			return
		}
		fmt.Fprintln(w, last)
	})
}
