package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Placeholder implements replication.Receiver.
func (l *Local) Placeholder(ctx context.Context, r replication.PlaceholderRequest) error {
	if err := l.allow(ctx, r.Fence, false); err != nil {
		return err
	}
	if f, err := l.one(ctx, "", r.FileSystem); err != nil || f != nil {
		return err
	}
	if err := l.inherited(ctx, r.FileSystem, r.Encryption); err != nil {
		return err
	}
	properties := closed(zfs.Filesystem)
	properties[replication.PropertyPlaceholder] = "on"
	properties = noted(properties, r.Fence, r.FileSystem)
	return there(l.system.Create(ctx, r.FileSystem, zfs.CreateOptions{Properties: properties}))
}

// closed are the properties that keep a replica from being mounted and written to.
func closed(kind zfs.Kind) map[string]string {
	if kind == zfs.Volume {
		return map[string]string{"readonly": "on"}
	}
	return map[string]string{"readonly": "on", "canmount": "off", "mountpoint": "none"}
}

// noted adds the generation, where a root is made.
func noted(properties map[string]string, f replication.Fence, name string) map[string]string {
	if f.Generation > 0 && slices.Contains(f.Roots, name) {
		properties[replication.PropertyGeneration] = strconv.FormatUint(f.Generation, 10)
	}
	return properties
}

// inherited checks the encryption that a new dataset would have from the one above it.
func (l *Local) inherited(ctx context.Context, name string, rule replication.Encryption) error {
	i := strings.LastIndexByte(name, '/')
	parent := name[:max(i, 0)]
	above, err := l.one(ctx, "", parent)
	switch {
	case err != nil:
		return err
	case above == nil && slices.ContainsFunc(l.tops, func(top string) bool { return parent == top || strings.HasPrefix(parent, top+"/") }):
		return l.makeAbove(ctx, parent, rule)
	case above == nil:
		return fmt.Errorf("receive into %s: the dataset above it is not there, and is not made by replication: %w", name, zfs.ErrNotExist)
	case rule == replication.EncryptionRaw:
		return nil
	}
	if fault := rule.Fault(name, above.Encryption, above.EncryptionRoot); fault != "" {
		return &replication.Conflict{Kind: replication.EncryptionDiffers, Target: name, Detail: "below " + above.Name + ", " + fault}
	}
	return nil
}

// makeAbove makes a placeholder that lies above a root, and those above it that are missing. It belongs to no job.
func (l *Local) makeAbove(ctx context.Context, name string, rule replication.Encryption) error {
	if err := l.inherited(ctx, name, rule); err != nil {
		return err
	}
	properties := closed(zfs.Filesystem)
	properties[replication.PropertyPlaceholder] = "on"
	return there(l.system.Create(ctx, name, zfs.CreateOptions{Properties: properties}))
}

// Receive implements replication.Receiver. Nothing is received into what is not the job's, whatever the plan says, and nothing but the step's snapshot, whatever
// the stream is: one that was made by hand could destroy what is below. What has arrived is held.
func (l *Local) Receive(ctx context.Context, r replication.ReceiveRequest, stream io.Reader) error {
	f, err := l.destination(ctx, r)
	if err != nil {
		return err
	}
	if f == nil {
		err = l.inherited(ctx, r.FileSystem, r.Encryption)
	} else {
		err = fitting(f, r)
	}
	if err != nil {
		return err
	}
	properties := closed(r.Kind)
	properties[replication.PropertyReplica] = r.Job
	properties[replication.PropertySource] = r.Source.String()
	properties[replication.PropertyStream] = r.Stream.String()
	arriving := ""
	spec := zfs.ReceiveSpec{
		Name: r.FileSystem, Resumable: true, Force: r.Over, Override: noted(properties, r.Fence, r.FileSystem),
		Want: &zfs.StreamWanted{Kind: r.Kind, From: r.From, To: r.To, Package: r.Properties, Found: func(h zfs.StreamHead) {
			if _, short, ok := strings.Cut(h.Name, "@"); ok {
				arriving = r.FileSystem + "@" + short
			}
		}},
	}
	for _, name := range replication.OwnProperties() {
		if _, ours := spec.Override[name]; r.Properties && !ours {
			spec.Exclude = append(spec.Exclude, name)
		}
	}
	received := l.system.Receive(ctx, spec, stream)
	if errors.Is(received, zfs.ErrModified) && f != nil {
		if whole, err := l.one(ctx, "", r.FileSystem); err == nil && whole != nil {
			f = whole
		}
		received = fmt.Errorf("%w: %w", f.Refused(r.From), received)
	}
	if received != nil {
		arriving = "" // it may have arrived all the same, or not
	}
	arrived, err := l.arrived(ctx, r, arriving)
	if received != nil {
		return received
	}
	if err != nil {
		return err
	}
	l.memory.add(r.FileSystem, r.To, arrived)
	names := map[string]zfs.GUID{arrived: r.To}
	if r.From != 0 {
		if f == nil || f.Snapshot(r.From) == nil {
			return nil
		}
		names[f.Whole(*f.Snapshot(r.From))] = r.From
	}
	l.memory.begin(stepKey{job: r.Job, fileSystem: r.FileSystem, receiving: true}, begun{from: r.From, to: r.To, names: names})
	return nil
}

// destination reads what a stream goes into. Where a step goes on from a snapshot, that is enough of what is there.
func (l *Local) destination(ctx context.Context, r replication.ReceiveRequest) (*replication.FileSystem, error) {
	from := r.From
	if r.Over {
		from = 0
	}
	f, err := l.find(ctx, r.Fence, false, r.FileSystem, from)
	if err != nil || f == nil || from == 0 || f.Snapshot(from) != nil {
		return f, err
	}
	return l.one(ctx, "", r.FileSystem)
}

// arrivedTime is how long it may take to hold what has arrived. Nobody else ends it: the pool may not answer.
const arrivedTime = 2 * time.Minute

// arrived holds a snapshot that is whole, whether or not its sender hears of that: it may be lost by now, and the request with it. What is held is what a
// failover takes for received. Its whole name is returned, and may be given, where that is known: what has taken the name since, Complete lets go again.
func (l *Local) arrived(ctx context.Context, r replication.ReceiveRequest, whole string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), arrivedTime)
	defer cancel()
	if whole != "" {
		if err := l.system.Hold(ctx, replication.LastTag(r.Job), whole); !errors.Is(err, zfs.ErrNotExist) {
			return whole, err
		}
	}
	f, to, err := l.snapshot(ctx, "", r.FileSystem, r.To)
	if err != nil {
		return "", err
	}
	whole = f.Whole(*to)
	return whole, l.system.Hold(ctx, replication.LastTag(r.Job), whole)
}

// fitting checks that what is there may be received into.
func fitting(f *replication.FileSystem, r replication.ReceiveRequest) error {
	refuse := func(kind replication.ConflictKind, detail string) error {
		return &replication.Conflict{Kind: kind, Target: f.Name, Detail: detail}
	}
	snapshots := len(f.Snapshots()) > 0
	switch {
	case r.Over && r.From != 0:
		return fmt.Errorf("receive into %s: a step from the snapshot %s %w over a placeholder, expected a full stream", f.Name, r.From, zfs.ErrInvalid)
	case f.Kind != r.Kind:
		return refuse(replication.KindDiffers, fmt.Sprintf("it is a %s", f.Kind))
	case r.Over && f.Placeholder && !f.ReadOnly:
		return refuse(replication.PlaceholderChanged, "it was opened for writing")
	case r.Over && f.Placeholder && f.Filled():
		return refuse(replication.PlaceholderChanged, fmt.Sprintf("it holds %d bytes", f.ReferencedBytes))
	case r.Over && !f.Placeholder:
		return refuse(replication.NotReplica, "it is no placeholder any more")
	case !r.Over && snapshots && f.Replica != r.Job:
		return refuse(replication.NotReplica, "it was not made by this job")
	case !r.Over && snapshots && r.From == 0:
		return fmt.Errorf("receive into %s: it %w: it has snapshots already, expected a step from one of them: was its pool imported just now?", f.Name, replication.ErrChanged)
	case !r.Over && !snapshots && f.Token == "":
		return refuse(replication.NotReplica, "it is there, and has no snapshot")
	}
	return nil
}

// Abort implements replication.Receiver.
func (l *Local) Abort(ctx context.Context, r replication.AbortRequest) error {
	if err := l.allow(ctx, r.Fence, false); err != nil {
		return err
	}
	return l.abort(ctx, r.FileSystem, r.To)
}

func (l *Local) abort(ctx context.Context, name string, to zfs.GUID) error {
	f, err := l.one(ctx, "", name)
	switch {
	case err != nil:
		return err
	case f == nil || f.Token == "":
		return nil
	case f.Partial.To != to:
		return fmt.Errorf("abort receive into %s: it %w, and is of %s", name, replication.ErrChanged, f.Partial.ToName)
	}
	return gone(l.system.AbortReceive(ctx, name))
}

// Complete implements replication.Receiver. The new hold is there before the old one goes; Receive has taken it already, unless it was cut.
func (l *Local) Complete(ctx context.Context, r replication.CompleteRequest) error {
	f, held, before, err := l.completed(ctx, r)
	if err != nil {
		return err
	}
	to, err := snapshotOf(f, r.FileSystem, r.To)
	if err != nil {
		return err
	}
	if fault := r.Encryption.Fault(f.Name, f.Encryption, f.EncryptionRoot); fault != "" {
		return &replication.Conflict{Kind: replication.EncryptionDiffers, Target: f.Name, Detail: fault}
	}
	if f.Marked {
		if err := l.system.Inherit(ctx, f.Name, replication.PropertyPlaceholder); err != nil {
			return err
		}
	}
	if !f.ReadOnly {
		if err := l.system.Set(ctx, f.Name, map[string]string{"readonly": "on"}); err != nil {
			return err
		}
	}
	tag := replication.LastTag(r.Job)
	if r.Hold && !held {
		if err := l.system.Hold(ctx, tag, f.Whole(*to)); err != nil {
			return err
		}
	}
	if len(before) == 0 {
		return nil
	}
	return l.system.Release(ctx, tag, before...)
}

// completed reads a file system for Complete: whether what has arrived is held, and what else is that should be no longer. What Receive has held since the
// last look, it knows: then only the snapshot that it went on from was held before, and all else a run has let go at its beginning.
func (l *Local) completed(ctx context.Context, r replication.CompleteRequest) (f *replication.FileSystem, held bool, before []string, err error) {
	step, ok := l.memory.end(stepKey{job: r.Job, fileSystem: r.FileSystem, receiving: true}, r.To)
	if ok && r.Hold {
		seen, err := l.glance(ctx, r.Fence, false, r.FileSystem, step.names)
		if err != nil {
			return nil, false, nil, err
		}
		if seen != nil {
			for whole, guid := range step.names {
				switch {
				case guid == r.To:
					held = seen.held[whole]
				case seen.held[whole]:
					before = append(before, whole)
				}
			}
			if held {
				return seen.FileSystem, held, before, nil
			}
		}
	}
	if err := l.allow(ctx, r.Fence, false); err != nil {
		return nil, false, nil, err
	}
	f, to, err := l.snapshot(ctx, r.Job, r.FileSystem, r.To)
	if err != nil {
		return nil, false, nil, err
	}
	before = nil
	for _, v := range f.Versions {
		if v.Last && (v.GUID != r.To || !r.Hold) {
			before = append(before, f.Whole(v))
		}
	}
	return f, to.Last, before, nil
}
