package etcd

// Status is what the domain found.
type Status struct {
	// Ready is Healthy, by a member that runs as the spec says.
	Ready bool
	// Reason says in words what Ready waits for; empty when Ready.
	Reason string
	// Running says that the container runs.
	Running bool
	// Healthy is the member's own answer: it has a leader and serves.
	Healthy bool
	// Restarts counts the container's starts after the first.
	Restarts int
}
