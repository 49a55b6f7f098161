package cluster

import (
	"fmt"
	"io"
	"time"
)

// reporter prints what is done and what is waited for, with the time since it
// was made. The same words twice in a row are printed once.
type reporter struct {
	out   io.Writer
	start time.Time
	last  string
}

func newReporter(out io.Writer) *reporter {
	if out == nil {
		out = io.Discard
	}
	return &reporter{out: out, start: time.Now()}
}

func (r *reporter) printf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if text == r.last {
		return
	}
	r.last = text
	fmt.Fprintf(r.out, "%6.1fs  %s\n", time.Since(r.start).Seconds(), text)
}
