package pool

import (
	"fmt"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Status is what others need to know of the pools.
type Status struct {
	// Ready says that every declared pool is imported and can be used.
	Ready bool
	// Reason says in words what is waited for while not Ready.
	Reason string
	// Pools has an entry for each declared pool, in order, and behind them those that are imported and not declared.
	Pools []PoolStatus
	// Importable are pools on the machine's disks that are not imported, and Disks the disks, as they were found.
	Importable []Importable
	Disks      []Disk
	// Late is the time after which a pool whose disks have not all come is imported without them; 0 if none is waited for.
	Late time.Duration
}

// PoolStatus is the state of one pool.
type PoolStatus struct {
	Name string
	GUID zfs.GUID
	// Imported says that it can be used; Declared that it is in the specification. Pool is the zero value while it is not imported.
	Imported, Declared bool
	Pool               Pool
	// Healthy says that all of it is as it should be: full redundancy, no error.
	Healthy bool
	// Summary is one sentence on how it is, and Next one on what to do next.
	Summary, Next string
	// Conditions are what a person has to resolve, Waiting the operations that need a confirmation.
	Conditions []Condition
	Waiting    []Op
	// Picture is the tree of its vdevs as text.
	Picture string
}

// Status sums up an observation.
func (r *Reconciler) Status(spec Spec, obs Observed) Status {
	ops, conditions := Plan(spec, obs)
	s := Status{Importable: obs.Importable, Disks: obs.Disks}
	var waits []string
	declared := map[string]bool{}
	for _, p := range spec.Pools {
		declared[p.Name] = true
		ps := PoolStatus{Name: p.Name, GUID: p.GUID, Declared: true}
		for _, c := range conditions {
			if c.Pool == p.Name {
				ps.Conditions = append(ps.Conditions, c)
			}
		}
		for _, o := range ops {
			if o.Pool == p.Name && !spec.allowed(o) {
				ps.Waiting = append(ps.Waiting, o)
			}
		}
		for _, i := range obs.candidates(p) {
			if left := obs.Late[i.GUID]; left > 0 && p.Presence == Imported && (s.Late == 0 || left < s.Late) {
				s.Late = left
			}
		}
		ps.fill(p, obs)
		if p.Presence == Imported && (!ps.Imported || ps.Pool.State == Suspended) {
			waits = append(waits, fmt.Sprintf("pool %s: %s", p.Name, ps.Summary))
		}
		s.Pools = append(s.Pools, ps)
	}
	for _, p := range obs.Pools {
		if !declared[p.Name] {
			ps := PoolStatus{Name: p.Name}
			ps.fill(PoolSpec{Name: p.Name}, obs)
			s.Pools = append(s.Pools, ps)
		}
	}
	s.Reason = strings.Join(waits, "; ")
	s.Ready = s.Reason == ""
	return s
}

// fill completes the status of one pool.
func (s *PoolStatus) fill(spec PoolSpec, obs Observed) {
	s.Pool, s.Imported = obs.imported(s.Name)
	if s.Imported {
		s.GUID = s.Pool.GUID
		s.Healthy, s.Summary, s.Next = advice(s.Pool, obs.Now)
		s.Summary = strings.TrimSpace(s.Summary) // where there was no device to name
		s.Picture = Picture(s.Pool, obs)
	} else {
		s.Summary, s.Next = absentAdvice(spec, len(obs.candidates(spec)) > 0)
	}
	for i, c := range s.Conditions {
		// What needs a person goes first: the advice on a pool that runs comes after what keeps it from its declaration, and after that to bring a device back which is kept out.
		if i == 0 && (!s.Imported || s.Healthy) || c.Kind == DiskApart {
			s.Summary, s.Next = c.Text+".", c.Next
		}
		s.Healthy = false
	}
	if len(s.Conditions) == 0 && len(s.Waiting) > 0 {
		confirm := fmt.Sprintf("Confirm with the pool's name, %q, to have this done: %s.", s.Name, s.Waiting[0])
		if s.Imported && !s.Healthy {
			confirm = s.Next + " " + confirm
		}
		s.Next = confirm
		if amount := s.Waiting[0].Amount; amount != "" {
			s.Next += " It is about " + amount + "."
		}
	}
}
