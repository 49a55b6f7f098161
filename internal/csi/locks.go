package csi

import (
	"context"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// locks keeps calls for one volume apart. The zero value has none.
type locks struct {
	mu   sync.Mutex
	held map[string]bool
	// freed is closed when something is given back.
	freed chan struct{}
}

// take waits until all keys are free and takes them at once, so that no two calls can wait for each other. Who has keys takes no more. A context that
// ends before is ABORTED, as CSI has it for an operation that is pending.
func (l *locks) take(ctx context.Context, keys ...string) (release func(), err error) {
	for {
		wait, ok := l.try(keys)
		if ok {
			return func() { l.release(keys) }, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, status.Errorf(codes.Aborted, "wait for another call for %s: %v", strings.Join(keys, ", "), context.Cause(ctx))
		}
	}
}

// has says whether somebody has a key at present.
func (l *locks) has(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[key]
}

func (l *locks) try(keys []string) (freed <-chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held, l.freed = map[string]bool{}, make(chan struct{})
	}
	for _, key := range keys {
		if l.held[key] {
			return l.freed, false
		}
	}
	for _, key := range keys {
		l.held[key] = true
	}
	return nil, true
}

func (l *locks) release(keys []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		delete(l.held, key)
	}
	close(l.freed)
	l.freed = make(chan struct{})
}
