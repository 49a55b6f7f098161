package etcd

// Op is one operation of the domain.
type Op int

// The operations, in the order in which they are applied.
const (
	WriteSecrets Op = iota + 1
	RunMember
)

// String says what the operation does.
func (o Op) String() string {
	switch o {
	case WriteSecrets:
		return "issue certificates of etcd"
	case RunMember:
		return "run container etcd"
	}
	return "unknown operation"
}

// Diff returns what leads from obs to spec. It is pure.
func (r *Reconciler) Diff(spec Spec, obs Observed) []Op {
	if obs.Unavailable {
		return nil
	}
	var ops []Op
	if !obs.SecretsCurrent {
		ops = append(ops, WriteSecrets)
	}
	c := obs.Container
	if !obs.Held && (c == nil || c.Hash != member(spec, r.layout).Hash() || c.NeedsStart(obs.Now)) {
		ops = append(ops, RunMember)
	}
	return ops
}
