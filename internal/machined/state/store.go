package state

import (
	"context"
	"sync"
)

// Store holds one immutable value with a version that grows by one with each change. Its methods may be called concurrently.
type Store[T any] struct {
	mu      sync.Mutex
	value   T
	version uint64
	changed chan struct{}
}

// New returns a store at version 1.
func New[T any](value T) *Store[T] {
	return &Store[T]{value: value, version: 1, changed: make(chan struct{})}
}

// Get returns the current value and its version.
func (s *Store[T]) Get() (T, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value, s.version
}

// Update replaces the value by what change makes of it, and returns the new version. The function gets a copy and must not alter what the
// copy refers to; it must not call the store.
func (s *Store[T]) Update(change func(T) T) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value = change(s.value)
	s.version++
	close(s.changed)
	s.changed = make(chan struct{})
	return s.version
}

// Watch waits until the version is greater than after, and returns the value then; versions between may be passed over. With after 0 it
// returns at once. The error is ctx's.
func (s *Store[T]) Watch(ctx context.Context, after uint64) (T, uint64, error) {
	for {
		s.mu.Lock()
		value, version, changed := s.value, s.version, s.changed
		s.mu.Unlock()
		if version > after {
			return value, version, nil
		}
		select {
		case <-ctx.Done():
			return value, version, ctx.Err()
		case <-changed:
		}
	}
}
