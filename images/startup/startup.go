// Package startup keeps the garbage collector out of the start of a program of the
// image that is written in Go.
//
// A program that starts with a small heap collects at 4 MiB, at 6, at 9, and so on
// up to its size, each time all that it has, and next to nothing of it is garbage.
// Natively, from its start to its readiness kube-apiserver 1.36 took 3.9 s of
// processor time with GOGC=50, 28 collections, 2.6 s with GOGC=100, and 1.6 s with
// none; kube-controller-manager 0.8, 0.4, and 0.3 s.
package startup

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"
)

// after is the variable with the percentage that applies once the program has
// started. internal/container sets it, with GOGC=off and GOMEMLIMIT.
const after = "GOGC_AFTER_START"

// longest is how long a start may take.
const longest = 2 * time.Minute

// EaseGC is to be called first in main. Where GOGC_AFTER_START is set in the
// environment, the program was started with GOGC=off, and with GOMEMLIMIT at which
// it collects nevertheless: from the first collection, or two minutes after its
// start, it collects as GOGC_AFTER_START says, without a limit. Programs that it
// starts collect so from their beginning. Without the variable nothing is done.
func EaseGC() {
	text, ok := os.LookupEnv(after)
	if !ok {
		return
	}
	percent, err := strconv.Atoi(text)
	if err != nil || percent <= 0 {
		fmt.Fprintf(os.Stderr, "%s is %q, expected a percentage above 0: 100 is taken\n", after, text)
		percent = 100
	}
	// For the programs that it starts: this one's runtime has read its own.
	_ = os.Unsetenv(after)
	_ = os.Unsetenv("GOMEMLIMIT")
	_ = os.Setenv("GOGC", strconv.Itoa(percent))
	collected := firstCollection()
	go func() {
		select {
		case <-collected:
		case <-time.After(longest):
		}
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(math.MaxInt64)
		debug.FreeOSMemory()
	}()
}

// firstCollection returns a channel that is closed when the collector has run.
func firstCollection() <-chan struct{} {
	collected := make(chan struct{})
	// Of 32 bytes, so that it shares no block with something that lives (see
	// runtime.AddCleanup).
	runtime.AddCleanup(new([32]byte), func(c chan struct{}) { close(c) }, collected)
	return collected
}
