package dataset

import "github.com/cyvive/cyvive/internal/storage/zfs"

// Status is how the datasets fare.
type Status struct {
	// Ready says that all that is declared is there as declared, but for what is left as it is, to replication or in a pool that is declared read-only, and in use can be. Reason is the first condition that says
	// otherwise.
	Ready      bool
	Reason     string
	Conditions []Condition
	// Datasets are all that are there, declared or not, by name.
	Datasets []DatasetStatus
}

// DatasetStatus is one dataset.
type DatasetStatus struct {
	Name     string
	Kind     zfs.Kind
	GUID     zfs.GUID
	Declared bool
	// SizeBytes is that of a volume.
	SizeBytes                                  uint64
	UsedBytes, AvailableBytes, ReferencedBytes uint64
	// QuotaBytes bounds UsedBytes, RefquotaBytes ReferencedBytes; 0 is no bound.
	QuotaBytes, RefquotaBytes uint64
}

// Status judges what was observed.
func (r *Reconciler) Status(spec Spec, obs Observed) Status {
	out := Status{Ready: true, Conditions: Conditions(spec, obs)}
	declared := map[string]bool{}
	for _, d := range spec.Datasets {
		declared[d.Name] = true
	}
	for _, c := range out.Conditions {
		if !c.Reason.note() && out.Ready {
			out.Ready, out.Reason = false, c.String()
		}
	}
	if ops := Diff(spec, obs); out.Ready && len(ops) > 0 {
		out.Ready, out.Reason = false, "to do: "+ops[0].String()
	}
	for _, name := range sorted(obs.Datasets) {
		s := obs.Datasets[name]
		out.Datasets = append(out.Datasets, DatasetStatus{
			Name: name, Kind: s.Kind, GUID: s.GUID, Declared: declared[name], SizeBytes: s.bytes("volsize"),
			UsedBytes: s.bytes("used"), AvailableBytes: s.bytes("available"), ReferencedBytes: s.bytes("referenced"),
			QuotaBytes: s.bytes("quota"), RefquotaBytes: s.bytes("refquota"),
		})
	}
	return out
}
