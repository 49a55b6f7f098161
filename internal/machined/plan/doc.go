// Package plan computes what every domain is to reach from the configuration and the facts of the moment. It is the one place that knows
// the order of the layers:
//
//	configuration ─▶ network ─────────────┐
//	(none needed) ─▶ storage ─▶ identity ─┴▶ etcd ─┬▶ Kubernetes
//	(none needed) ─▶ confinement ─▶ extensions ────┘
//
// The service addresses of the cluster, which Kubernetes tells, go back to network once they are known.
//
// It is pure. A domain that must wait gets no specification but the reason, in words for a person; what it runs already is left running,
// since holding back is not tearing down.
package plan
