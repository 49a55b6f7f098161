package bench

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/cyvive/cyvive/hack/qemu/vm"
)

// Boot holds the milestones of one boot, in seconds since the kernel started.
type Boot struct {
	// APISeconds is when the Kubernetes API answers that it is ready.
	APISeconds float64 `json:"apiSeconds"`
	// ReadySeconds is when the node is Ready, by a heartbeat of this boot.
	ReadySeconds float64 `json:"readySeconds"`
	// PodSeconds is when a request reaches the pod and is answered.
	PodSeconds float64 `json:"podSeconds"`
}

// kernelTime matches a line that the kernel wrote with its time (printk.time).
var kernelTime = regexp.MustCompile(`^\[ *([0-9]+\.[0-9]{6})(?:\]|, *T[0-9]+\])`)

// clockWatch is for how long kernelStart watches the console in a boot.
const clockWatch = 20 * time.Second

// kernelStart returns when the kernel started, by the host's clock: no line can
// come before it was written, so it is the earliest of the differences between
// the time that a line came and the time that is in it. The first lines come late
// and all at once, when the driver of the serial port is there; so the console is
// watched for a time.
func kernelStart(ctx context.Context, console *vm.Console, length time.Duration) (time.Time, error) {
	first, err := console.WaitLine(ctx, kernelTime)
	if err != nil {
		return time.Time{}, err
	}
	start := time.Now().Add(-sinceStart(first))
	watch, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	for {
		line, err := console.WaitLine(watch, kernelTime)
		if err != nil {
			return start, ctx.Err() // the watch is over
		}
		if at := time.Now().Add(-sinceStart(line)); at.Before(start) {
			start = at
		}
	}
}

// sinceStart reads the time of a line that kernelTime matches.
func sinceStart(line string) time.Duration {
	seconds, err := strconv.ParseFloat(kernelTime.FindStringSubmatch(line)[1], 64)
	if err != nil || seconds > 1e6 {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// measureBoot starts the machine and waits until its pod answers, which is made
// unless it is there.
func measureBoot(ctx context.Context, m machine, pod []byte, say func(string, ...any)) (*vm.VM, Boot, error) {
	began := time.Now()
	v, err := m.start(ctx)
	if err != nil {
		return nil, Boot{}, err
	}
	type start struct {
		at  time.Time
		err error
	}
	known := make(chan start, 1)
	go func() {
		at, err := kernelStart(ctx, v.Console(), clockWatch)
		known <- start{at, err}
	}()
	port, name, authority := m.kubernetes()
	k, err := newKube(port, name, authority, pod)
	if err != nil {
		return v, Boot{}, err
	}
	defer k.close()
	// All are asked for at once: the node may be Ready before every check of the
	// API server's own readiness passes.
	var reached [3]time.Time
	var errs [3]error
	var group sync.WaitGroup
	for i, step := range []struct {
		what  string
		check func(context.Context) error
	}{
		{"API", k.apiReady},
		{"node", func(ctx context.Context) error { return k.nodeReady(ctx, began) }},
		{"pod", k.podAnswers},
	} {
		group.Go(func() { reached[i], errs[i] = await(ctx, step.what, step.check) })
	}
	group.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return v, Boot{}, err
	}
	for i, what := range []string{"API", "node", "pod"} {
		say("%s: %s after %s", name, what, reached[i].Sub(began).Round(100*time.Millisecond))
	}
	kernel := <-known
	if kernel.err != nil {
		return v, Boot{}, kernel.err
	}
	return v, Boot{
		APISeconds: reached[0].Sub(kernel.at).Seconds(), ReadySeconds: reached[1].Sub(kernel.at).Seconds(),
		PodSeconds: reached[2].Sub(kernel.at).Seconds(),
	}, nil
}

// pollInterval is the pause between two questions. Each costs the machine a few
// milliseconds; it is the error of the milestones.
const pollInterval = 250 * time.Millisecond

// await repeats a question until the answer is nil, and returns when that was.
func await(ctx context.Context, what string, check func(context.Context) error) (time.Time, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := check(limited)
		cancel()
		if err == nil {
			return time.Now(), nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("wait for %s: %w: %w", what, context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}
