package config

import "slices"

// storageDocs are the documents about storage that were read, with where they are, so that what is wrong between two of them is told of the one.
type storageDocs struct {
	pools     []read[Pool]
	datasets  []read[Dataset]
	schedules []read[SnapshotSchedule]
	jobs      []read[ReplicationJob]
}

// read is a document that was read.
type read[T any] struct {
	o *object
	v T
}

// into gives a configuration the documents.
func (s *storageDocs) into(cfg *Config) {
	cfg.Pools, cfg.Datasets = values(s.pools), values(s.datasets)
	cfg.SnapshotSchedules, cfg.ReplicationJobs = values(s.schedules), values(s.jobs)
}

func values[T any](list []read[T]) []T {
	var out []T
	for _, r := range list {
		out = append(out, r.v)
	}
	return out
}

// check looks for what is wrong between documents.
func (s *storageDocs) check() {
	for i, d := range s.datasets {
		if d.v.Name == "" {
			continue
		}
		s.declaredPool(d.o, "name", d.v.Name, false)
		for _, other := range s.datasets {
			if other.v.Volume != nil && other.v.Name != d.v.Name && isWithin(d.v.Name, other.v.Name) {
				d.o.fail("name", "%s is a volume, and has nothing below it", other.v.Name)
			}
		}
		mount := d.v.Properties["mountpoint"]
		for _, other := range s.datasets[:i] {
			if mount != "" && mount != "none" && other.v.Properties["mountpoint"] == mount {
				d.o.fail("properties", "%s is mounted on %s, too", other.v.Name, mount)
			}
		}
	}
	for i, one := range s.schedules {
		for _, t := range one.v.Datasets {
			s.declaredPool(one.o, "datasets", t.Name, true)
		}
		for _, other := range s.schedules[:i] {
			if one.v.Prefix != "" && one.v.Prefix == other.v.Prefix && shared(one.v.Datasets, other.v.Datasets) != "" {
				one.o.fail("prefix", "SnapshotSchedule %s has the prefix %q for %s, too: they would prune each other's snapshots, expected another",
					other.v.Name, one.v.Prefix, shared(one.v.Datasets, other.v.Datasets))
			}
		}
	}
	for i, j := range s.jobs {
		s.checkJob(j, s.jobs[:i])
	}
}

// declaredPool wants the pool of a dataset to be declared, or a place for others in the system's own.
func (s *storageDocs) declaredPool(o *object, field, dataset string, orRoot bool) {
	pool := poolOf(dataset)
	switch {
	case dataset == "":
	case pool == SystemPool && isWithin(dataset, SystemVolumes) && (orRoot || dataset != SystemVolumes):
	case pool == SystemPool:
		o.fail(field, "%s is the system's own, expected a dataset below %s, or in a pool of yours", dataset, SystemVolumes)
	case !slices.ContainsFunc(s.pools, func(p read[Pool]) bool { return p.v.Name == pool || p.v.Name == "" }):
		o.fail(field, "%s lies in the pool %s, expected a document of kind Pool for that", dataset, pool)
	}
}

// shared returns a dataset that two lists of trees have in common; empty if they have none.
func shared(a, b []DatasetTree) string {
	for _, x := range a {
		for _, y := range b {
			switch {
			case x.Name == "" || y.Name == "":
			case y.covers(x.Name):
				return x.Name
			case x.covers(y.Name):
				return y.Name
			}
		}
	}
	return ""
}

// overlapping returns the tree that a dataset lies in, or that lies in it.
func overlapping(trees []DatasetTree, dataset string) string {
	for _, t := range trees {
		if t.Name != "" && (t.covers(dataset) || isWithin(t.Name, dataset)) {
			return t.Name
		}
	}
	return ""
}

// checkJob holds a job against those before it, and against all other documents.
func (s *storageDocs) checkJob(j read[ReplicationJob], before []read[ReplicationJob]) {
	v := j.v
	if v.Direction == DirectionPush {
		for _, t := range v.Sources {
			s.declaredPool(j.o, "sources", t.Name, true)
		}
	}
	if v.Direction == DirectionPull {
		s.declaredPool(j.o, "target", v.Target, false)
		s.checkReplica(j)
	}
	for _, other := range before {
		o := other.v
		if v.UUID != "" && v.UUID == o.UUID {
			j.o.fail("uuid", "ReplicationJob %s has it, too, expected one that no other job has", o.Name)
		}
		if v.Target == "" || o.Target == "" {
			continue
		}
		same := v.Direction == o.Direction && (v.Direction == DirectionPull || v.Peer.Address == o.Peer.Address)
		if same && overlap(v.Target, o.Target) {
			j.o.fail("target", "ReplicationJob %s receives into %s, expected places apart from each other", o.Name, o.Target)
		}
		push, pull := v, o
		if v.Direction == DirectionPull {
			push, pull = o, v
		}
		if push.Direction == DirectionPush && pull.Direction == DirectionPull && push.Peer.Address == pull.Peer.Address &&
			overlapping(push.Sources, pull.Target) != "" && overlapping(pull.Sources, push.Target) != "" {
			j.o.fail("sources", "with ReplicationJob %s it goes in a circle between this node and %s, expected one direction", o.Name, v.Peer.Address)
		}
	}
}

// checkReplica wants nothing else to write where a job receives: a replica that differs from its source cannot go on. What was promoted is no replica.
func (s *storageDocs) checkReplica(j read[ReplicationJob]) {
	target := j.v.Target
	if target == "" {
		return
	}
	for _, d := range s.datasets {
		if !j.v.Promoted && d.v.Name != target && isWithin(d.v.Name, target) {
			d.o.fail("name", "what lies below %s is received by ReplicationJob %s, expected another place, or promoted: true in the job after a failover",
				target, j.v.Name)
		}
		if d.v.Name == target && d.v.Volume != nil {
			d.o.fail("volume", "ReplicationJob %s receives below it, expected a file system", j.v.Name)
		}
	}
	for _, one := range s.schedules {
		if name := overlapping(one.v.Datasets, target); one.v.Schedule != (Schedule{}) && name != "" && !j.v.Promoted {
			one.o.fail("schedule", "%s is, or has below it, what ReplicationJob %s receives, and a replica gets no snapshots of its own; "+
				"expected no schedule, to prune only, or %s among exclude, or promoted: true in the job after a failover", name, j.v.Name, target)
		}
	}
	for _, p := range s.pools {
		if p.v.Name == poolOf(target) && p.v.ReadOnly {
			j.o.fail("target", "the pool %s is imported read-only, expected one that can be written to", p.v.Name)
		}
	}
}
