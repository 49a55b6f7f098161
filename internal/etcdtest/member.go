// Package etcdtest has a fake of what the etcd domain works with beside its
// container: the member's own answer.
package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cyvive/cyvive/internal/pki"
)

// Member plays an etcd member. The zero value is healthy. It is safe for
// concurrent use.
type Member struct {
	mu      sync.Mutex
	problem string
	asked   int
}

// Fail makes the member unhealthy for a reason; an empty one heals it.
func (m *Member) Fail(problem string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.problem = problem
}

// Health is for etcd.Config. Like the real one it refuses to ask without the
// authority of the member.
func (m *Member) Health(_ context.Context, ca *pki.Authority) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	switch {
	case ca == nil:
		return errors.New("ask etcd for its health: no authority")
	case m.problem != "":
		return errors.New(m.problem)
	}
	return nil
}

// String prints the member's state and how often it was asked.
func (m *Member) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	state := "healthy"
	if m.problem != "" {
		state = m.problem
	}
	return fmt.Sprintf("%s, asked %d times", state, m.asked)
}
