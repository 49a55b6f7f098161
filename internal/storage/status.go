package storage

import (
	"fmt"
	"strings"
)

// Status is what others need to know of the storage.
type Status struct {
	// Ready means that every volume is mounted and has its directories.
	Ready bool
	// Reason says in words what it waits for while not Ready.
	Reason string
	// StateMounted and DataMounted are set as soon as the volume can be used.
	StateMounted, DataMounted bool
	// Volumes has an entry for each volume of the specification, in its order.
	Volumes []VolumeStatus
}

// VolumeStatus is the state of one volume.
type VolumeStatus struct {
	Name      string
	Device    string
	SizeBytes uint64
	Mounted   bool
	// Known is false until this boot has looked at the volume; Clean says whether it was left clean by the boot before.
	Known, Clean bool
}

// Status sums up an observation.
func (r *Reconciler) Status(spec Spec, obs Observed) Status {
	var s Status
	var waits []string
	for _, v := range spec.Volumes {
		state := obs.Volumes[v.Name]
		usable := state.Mounted && len(directoryOps(v, state)) == 0
		s.Volumes = append(s.Volumes, VolumeStatus{
			Name: v.Name, Device: state.Partition.Device, SizeBytes: state.Partition.SizeBytes,
			Mounted: state.Mounted, Known: state.Recorded, Clean: state.RecordedClean,
		})
		switch {
		case v.Name == State:
			s.StateMounted = usable
		case v.Name == Data:
			s.DataMounted = usable
		}
		switch reason := refusal(v, state); {
		case reason != "":
			waits = append(waits, reason)
		case !usable:
			waits = append(waits, fmt.Sprintf("volume %s is not mounted yet", v.Name))
		}
	}
	s.Reason = strings.Join(waits, "; ")
	s.Ready = s.Reason == ""
	return s
}
