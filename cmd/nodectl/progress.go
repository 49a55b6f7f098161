package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progress shows how far something is: on a terminal on one line that changes, elsewhere by a line for each quarter.
type progress struct {
	out      io.Writer
	terminal bool
	node     string
	what     string
	now      func() time.Time

	shown   time.Time
	quarter uint64
	open    bool // the line on the terminal has no end yet
}

func (a *app) progress(node, what string) *progress {
	file, ok := a.stderr.(*os.File)
	return &progress{out: a.stderr, terminal: ok && term.IsTerminal(int(file.Fd())), node: node, what: what, now: a.now}
}

// progressInterval is the shortest time between two looks of a line that changes.
const progressInterval = 200 * time.Millisecond

// at shows that n of a total are done.
func (p *progress) at(n, total uint64) { p.with(n, total, "") }

// with is at, with more behind it on a terminal.
func (p *progress) with(n, total uint64, more string) {
	if total == 0 {
		return
	}
	if !p.terminal {
		if q := 4 * n / total; q > p.quarter {
			p.quarter = q
			fmt.Fprintf(p.out, "%s: %s %s\n", p.node, p.what, percent(n, total))
		}
		return
	}
	if now := p.now(); n == total || now.Sub(p.shown) >= progressInterval {
		p.shown, p.open = now, true
		fmt.Fprintf(p.out, "\r%s: %s %s of %s, %s%s\x1b[K", p.node, p.what, bytesText(n), bytesText(total), percent(n, total), more)
	}
}

// end ends the line on a terminal, if there is one.
func (p *progress) end() {
	if p.open {
		fmt.Fprintln(p.out)
		p.open = false
	}
}

func percent(n, total uint64) string { return fmt.Sprintf("%d%%", 100*n/max(total, 1)) }

// stall ends a call on which nothing happens.
type stall struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

var errStalled = errors.New("the node does not go on: it hangs, or something between here and there drops the packets")

func withStall(ctx context.Context) (context.Context, *stall) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &stall{ctx: ctx, cancel: cancel}
	s.timer = time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	return ctx, s
}

// reset says that something happens.
func (s *stall) reset() { s.timer.Reset(stallTimeout) }

func (s *stall) stop() {
	s.timer.Stop()
	s.cancel(nil)
}

// cause is why a call ended.
func (s *stall) cause(err error) error {
	if context.Cause(s.ctx) == errStalled {
		return errStalled
	}
	return err
}
