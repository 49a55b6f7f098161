package server

import (
	"context"
	"time"
)

// Kubeconfig is access to a cluster.
type Kubeconfig struct {
	YAML        []byte // holds a private key
	ClusterName string
	ExpiresAt   time.Time
}

// DrainOptions says how pods are moved away from a node.
type DrainOptions struct {
	Deadline time.Duration
	Alone    bool // also where no other node takes them
}

// DrainProgress is how far that is.
type DrainProgress struct {
	Gone, Remaining int
	Waiting         string // for a person; empty when nothing remains
}

// DrainResult is what came of it.
type DrainResult int

// The results; see the protos for what they mean.
const (
	DrainComplete DrainResult = iota + 1
	DrainPartial
	DrainSkipped
)

// DrainOutcome is the end of a drain.
type DrainOutcome struct {
	Result          DrainResult
	Gone, Remaining int
	Reason          string // for a person; may be empty where it is complete
}

// Kube hands out access to Kubernetes, and moves the node's pods. Safe for
// concurrent use.
type Kube interface {
	// Drain cordons the node and asks its pods to leave. It calls progress from one
	// goroutine, and gives up with progress' error or the context's end; all else
	// that keeps it from success is in the outcome. ErrPrecondition while another
	// drain is at work.
	Drain(ctx context.Context, o DrainOptions, progress func(DrainProgress) error) (DrainOutcome, error)
	// Uncordon takes back what Drain did, and tells whether there was something.
	// ErrPrecondition on a node without a cluster.
	Uncordon(ctx context.Context) (bool, error)
	// Kubeconfig makes a new administrator's certificate. ErrPrecondition on a
	// node that has no cluster's authority.
	Kubeconfig(ctx context.Context) (Kubeconfig, error)
}
