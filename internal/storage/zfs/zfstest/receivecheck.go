package zfstest

import (
	"fmt"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// begin decides whether a stream may be received, as zfs_receive_one (lib/libzfs/libzfs_sendrecv.c) and dmu_recv_begin_check (module/zfs/dmu_recv.c)
// do, and begins. Skip says that the snapshot is there already, so that the stream is read and nothing done.
func (m *Model) begin(o zfs.ReceiveSpec, h header) (d *dataset, skip bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := checkName(o.Name, 0); err != nil {
		return nil, false, err
	}
	for property := range o.Override {
		if err := checkSettable(property, true); err != nil {
			return nil, false, err
		}
	}
	d = m.datasets[o.Name]
	// By itself -F would destroy snapshots that are later than the base (dmu_recv_end_check); zfs.ReceiveSpec says that it rolls back to the latest.
	if o.Force && d != nil && len(d.snapshots) > 0 {
		if err := d.rollBack(d.latest()); err != nil {
			return nil, false, err
		}
		o.Force = false
	}
	switch {
	case h.Resume != nil:
		err = m.beginResumed(d, o, h)
	case d == nil:
		d, err = m.beginNew(o, h)
	case h.From == 0 || h.Clone:
		err = m.beginOver(d, o, h)
	default:
		skip, err = m.beginNext(d, h)
	}
	if err == nil && !skip {
		d.partial.resumable = o.Resumable
	}
	return d, skip, err
}

// beginNew receives into a name that is free.
func (m *Model) beginNew(o zfs.ReceiveSpec, h header) (*dataset, error) {
	if h.From != 0 && !h.Clone || parentOf(o.Name) == "" {
		return nil, fmt.Errorf("destination: %w", zfs.ErrNotExist)
	}
	var origin *snapshot
	if h.Clone {
		pool, _, _ := strings.Cut(o.Name, "/")
		if origin = m.byGUID(pool, h.From); origin == nil {
			return nil, fmt.Errorf("local origin for clone: %w", zfs.ErrNotExist)
		}
	}
	made := map[string]string{}
	for name, value := range o.Override {
		if natives[name].onceOnly || name == "keylocation" {
			made[name] = value
		}
	}
	d, err := m.newDataset(o.Name, h.Kind, made)
	if err != nil {
		return nil, err
	}
	if h.Raw {
		d.encryption, d.root = h.Cipher, d
	}
	if err := h.embedded(d); err != nil {
		delete(m.datasets, d.name)
		return nil, err
	}
	d.inconsistent, d.partial = true, &partial{head: h, running: true}
	if origin != nil {
		d.origin, d.partial.base, d.partial.contents = origin, origin, origin.contents
	}
	return d, nil
}

// beginOver receives a full stream into a dataset that exists.
func (m *Model) beginOver(d *dataset, o zfs.ReceiveSpec, h header) error {
	switch {
	case !o.Force && d.inconsistent && !d.partial.running:
		return fmt.Errorf("%w: %w", zfs.ErrPartial, zfs.ErrExist)
	case !o.Force:
		return fmt.Errorf("%w: must specify -F to overwrite it", zfs.ErrExist)
	case d.inconsistent || d.partial != nil:
		return inTheWay(d)
	case len(d.snapshots) > 0:
		return fmt.Errorf("%w: destination has snapshots (eg. %s)", zfs.ErrExist, d.snapshots[0].whole())
	case d.origin != nil:
		return fmt.Errorf("%w: destination is a clone", zfs.ErrExist)
	case d.kind != h.Kind || h.Kind == zfs.Volume && len(m.below(d.name)) > 1:
		return fmt.Errorf("%w: a %s cannot take the place of a %s", zfs.ErrInvalid, h.Kind, d.kind)
	case h.Raw || d.root != nil:
		return fmt.Errorf("%w: -F does not destroy an encrypted file system, or put one in the place of another", zfs.ErrInvalid)
	}
	m.next()
	d.partial = &partial{head: h, running: true, replaces: true}
	return nil
}

// embedded refuses what --embed puts into a stream where it would land in an encrypted dataset (recv_begin_check_existing_impl).
func (h header) embedded(d *dataset) error {
	if h.AskedLarge && !h.Raw && d.root != nil {
		return fmt.Errorf("%w: incompatible embedded data stream feature with encrypted receive", zfs.ErrBadStream)
	}
	return nil
}

func inTheWay(d *dataset) error {
	if d.partial.running {
		return fmt.Errorf("destination %s: %w: it is being received into", d.name, zfs.ErrBusy)
	}
	return fmt.Errorf("destination %s: %w", d.name, zfs.ErrPartial)
}

// beginNext receives an incremental stream (recv_begin_check_existing_impl): its base must be there, and nothing changed since.
func (m *Model) beginNext(d *dataset, h header) (skip bool, err error) {
	_, short, _ := strings.Cut(h.ToName, "@")
	var base *snapshot
	for _, s := range d.snapshots {
		if s.guid == h.From {
			base = s
		}
	}
	there := d.snapshot(short)
	switch {
	case d.partial != nil:
		return false, inTheWay(d)
	case there != nil && there.guid == h.To:
		return true, nil
	case there != nil:
		return false, fmt.Errorf("%s: %w", there.whole(), zfs.ErrExist)
	case h.Raw && d.root == nil:
		return false, fmt.Errorf("%w: a raw stream on top of an unencrypted dataset", zfs.ErrInvalid)
	case base == nil:
		return false, fmt.Errorf("%w: most recent snapshot of %s does not match incremental source", zfs.ErrNoBase, d.name)
	case d.changed > base.txg:
		return false, fmt.Errorf("%w since most recent snapshot", zfs.ErrModified)
	case d.large && !h.Large:
		return false, fmt.Errorf("%w: incremental send stream requires -L (--large-block), to match previous receive", zfs.ErrBadStream)
	}
	if err := h.embedded(d); err != nil {
		return false, err
	}
	m.next()
	d.partial = &partial{head: h, base: base, contents: base.contents, running: true}
	return false, nil
}

// beginResumed goes on with a partial receive (dmu_recv_resume_begin_check).
func (m *Model) beginResumed(d *dataset, o zfs.ReceiveSpec, h header) error {
	switch {
	case d == nil:
		return fmt.Errorf("destination: %w", zfs.ErrNotExist)
	case d.partial == nil:
		return fmt.Errorf("%w: there is nothing to resume", zfs.ErrBadStream)
	case d.partial.running:
		return inTheWay(d)
	case d.partial.replaces && !o.Force:
		return fmt.Errorf("%w: resuming needs -F to overwrite it", zfs.ErrExist)
	}
	p := d.partial
	if p.head.To != h.To || p.head.From != h.From || p.received != *h.Resume {
		return fmt.Errorf("%w: it goes on with another receive", zfs.ErrBadStream)
	}
	m.next()
	p.running, p.head.ToName = true, h.ToName
	return nil
}
