package node

// Spec is what differs between drivers.
type Spec struct {
	// NodeName is the node's in Kubernetes.
	NodeName string
	// Parents are the file systems below which volumes are made. Those that are not there yet, or whose pool is not imported, may come later. They may become more while
	// a driver runs, each in a pool of its own.
	Parents []string
	// Away are file systems below which volumes may have been made, and are not now, nor looked for. It may change while a driver runs.
	Away []string
}

// Status is how the driver is.
type Status struct {
	// Ready says that kubelet has taken the driver, which answers on both sockets.
	Ready bool
	// Reason is why it is not ready, in words; empty when it is.
	Reason string
}
