package machined

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/diagnose"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// stamped is a time of the API; the zero one is unset.
func stamped(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// valid replaces what is no UTF-8: names of files, and what programs print, may be any bytes, and a message with such a text cannot be sent.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func poolToProto(s pool.PoolStatus, now time.Time) *poolv1.Pool {
	p := s.Pool
	out := &poolv1.Pool{
		Name: s.Name, Guid: uint64(s.GUID), Declared: s.Declared, Imported: s.Imported, Healthy: s.Healthy,
		Summary: valid(s.Summary), Next: valid(s.Next), Picture: valid(s.Picture),
	}
	for _, c := range s.Conditions {
		out.Conditions = append(out.Conditions, conditionToProto(c))
	}
	for _, o := range s.Waiting {
		out.Waiting = append(out.Waiting, operationToProto(o, true))
	}
	if !s.Imported {
		return out
	}
	out.State, out.ReadOnly = stateToProto(p.State), p.ReadOnly
	out.SizeBytes, out.AllocatedBytes, out.FreeBytes, out.ExpandableBytes = p.SizeBytes, p.AllocatedBytes, p.FreeBytes, p.ExpandableBytes
	out.CapacityPercent, out.FragmentationPercent = percentToProto(p.CapacityPercent), percentToProto(p.FragmentationPercent)
	out.Vdevs = vdevsToProto(p.Vdevs)
	out.Scan = scanToProto(p.Scan, now)
	out.Expansion, out.Removal = workToProto(p.Expansion), workToProto(p.Removal)
	if c := p.Checkpoint; c != nil {
		out.Checkpoint = &poolv1.Checkpoint{MadeAt: stamped(c.Start), SpaceBytes: c.SpaceBytes}
	}
	out.DataErrors, out.MessageId, out.Message = p.DataErrors, p.MessageID, valid(p.Words)
	for _, name := range p.Errors {
		out.DamagedFiles = append(out.DamagedFiles, valid(name))
	}
	out.Properties, out.Features = map[string]string{}, p.Features()
	for name, property := range p.Properties {
		if !strings.HasPrefix(name, "feature@") {
			out.Properties[name] = valid(property.Value)
		}
	}
	return out
}

func percentToProto(n int) *uint32 {
	if n < 0 {
		return nil
	}
	return new(uint32(n))
}

func conditionToProto(c pool.Condition) *poolv1.Condition {
	return &poolv1.Condition{Pool: c.Pool, Kind: string(c.Kind), Text: valid(c.Text), Next: valid(c.Next)}
}

func operationToProto(o pool.Op, waiting bool) *poolv1.Operation {
	return &poolv1.Operation{Pool: o.Pool, Text: o.String(), Needs: valid(o.Loss()), Waiting: waiting}
}

func stateToProto(s pool.State) poolv1.State {
	return map[pool.State]poolv1.State{
		pool.Online: poolv1.State_STATE_ONLINE, pool.Degraded: poolv1.State_STATE_DEGRADED, pool.Faulted: poolv1.State_STATE_FAULTED,
		pool.Offline: poolv1.State_STATE_OFFLINE, pool.Removed: poolv1.State_STATE_REMOVED, pool.Unavailable: poolv1.State_STATE_UNAVAILABLE,
		pool.Suspended: poolv1.State_STATE_SUSPENDED, pool.InUse: poolv1.State_STATE_IN_USE, pool.Available: poolv1.State_STATE_AVAILABLE,
	}[s]
}

func vdevsToProto(list []pool.Vdev) []*poolv1.Vdev {
	classes := map[pool.Class]poolv1.Class{
		pool.Normal: poolv1.Class_CLASS_DATA, pool.Special: poolv1.Class_CLASS_SPECIAL, pool.Dedup: poolv1.Class_CLASS_DEDUP,
		pool.Log: poolv1.Class_CLASS_LOG, pool.Cache: poolv1.Class_CLASS_CACHE, pool.Spare: poolv1.Class_CLASS_SPARE,
	}
	var out []*poolv1.Vdev
	for _, v := range list {
		one := &poolv1.Vdev{
			Name: valid(v.Name), Type: v.Type, Class: classes[v.Class], Guid: uint64(v.GUID), Path: valid(v.Path), State: stateToProto(v.State), Reason: v.Why(),
			ReadErrors: v.ReadErrors, WriteErrors: v.WriteErrors, ChecksumErrors: v.ChecksumErrors, SlowIos: v.SlowIOs,
			SizeBytes: v.SizeBytes, AllocatedBytes: v.AllocatedBytes, RepairedBytes: v.RepairedBytes, Children: vdevsToProto(v.Children),
		}
		if len(v.Children) == 0 {
			one.Trim = workToProto(&v.Trim)
		}
		out = append(out, one)
	}
	return out
}

// markVdevs says of devices of a pool which are marked, and why.
func markVdevs(list []*poolv1.Vdev, of zfs.GUID, marks []diagnose.Mark) {
	for _, v := range list {
		for _, m := range marks {
			if m.Pool == of && uint64(m.Vdev) == v.GetGuid() {
				v.Mark = valid(m.Why)
			}
		}
		markVdevs(v.GetChildren(), of, marks)
	}
}

func poolProgress(p pool.Progress) poolv1.Progress {
	return map[pool.Progress]poolv1.Progress{
		pool.Running: poolv1.Progress_PROGRESS_RUNNING, pool.Finished: poolv1.Progress_PROGRESS_FINISHED,
		pool.Canceled: poolv1.Progress_PROGRESS_CANCELED, pool.Halted: poolv1.Progress_PROGRESS_PAUSED,
	}[p]
}

// workToProto is nil for what was never begun.
func workToProto(w *pool.Work) *poolv1.Work {
	if w == nil || poolProgress(w.Progress) == poolv1.Progress_PROGRESS_UNSPECIFIED {
		return nil
	}
	return &poolv1.Work{
		Progress: poolProgress(w.Progress), Vdev: valid(w.Vdev), StartedAt: stamped(w.Start), EndedAt: stamped(w.End), DoneBytes: w.DoneBytes, TotalBytes: w.TotalBytes,
	}
}

func scanToProto(s pool.Scan, now time.Time) *poolv1.Scan {
	function := map[pool.Function]poolv1.Function{
		pool.Scrub: poolv1.Function_FUNCTION_SCRUB, pool.Resilver: poolv1.Function_FUNCTION_RESILVER,
		pool.ErrorScrub: poolv1.Function_FUNCTION_ERROR_SCRUB, pool.Rebuild: poolv1.Function_FUNCTION_REBUILD,
	}[s.Function]
	if function == poolv1.Function_FUNCTION_UNSPECIFIED {
		return nil
	}
	out := &poolv1.Scan{
		Function: function, Progress: poolProgress(s.Progress), StartedAt: stamped(s.Start), EndedAt: stamped(s.End), TotalBytes: s.TotalBytes,
		DoneBytes: s.IssuedBytes, RepairedBytes: s.RepairedBytes, Errors: s.Errors, BytesPerSecond: uint64(s.Rate(now)),
	}
	if s.Active() && !s.Paused.IsZero() {
		out.Progress = poolv1.Progress_PROGRESS_PAUSED
	}
	if eta := s.ETA(now); eta > 0 {
		out.Remaining = durationpb.New(eta)
	}
	return out
}

func importableToProto(i pool.Importable) *poolv1.Importable {
	return &poolv1.Importable{
		Name: i.Name, Guid: uint64(i.GUID), State: stateToProto(i.State), Problem: string(i.Problem), Message: valid(i.Words), Comment: valid(i.Comment),
		UnknownFeatures: i.Features, Destroyed: i.Destroyed, Vdevs: vdevsToProto(i.Vdevs), Missing: i.Missing,
	}
}
