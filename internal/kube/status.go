package kube

import "net/netip"

// Status is what the domain found.
type Status struct {
	// Ready is NodeReady with every container of the spec running.
	Ready bool
	// Reason says in words what Ready waits for; empty when Ready.
	Reason string
	// APIServerReady is the API server's own /readyz.
	APIServerReady bool
	// NodeReady is the Ready condition of this node's Node object.
	NodeReady bool
	// PodCIDR is the part of the cluster's that this node got; the zero
	// Prefix until then.
	PodCIDR netip.Prefix
	// PodsRunning counts this node's pods that are in phase Running.
	PodsRunning int
	// Services are the containers of Kubernetes, in start order.
	Services []Service
}

// Service is one container of Kubernetes.
type Service struct {
	Name string
	// State is in words: running, exited, waiting, …
	State    string
	Restarts int
}
