package zfstest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// partial is a receive that has begun and not ended.
type partial struct {
	head header
	// base is the snapshot that it goes on from, and then contents begin with those of base.
	base     *snapshot
	contents []record
	received int
	bytes    uint64
	running  bool
	// resumable says that it will be kept, and has a token.
	resumable bool
	// replaces says that a full stream takes the place of an existing dataset (-F).
	replaces bool
}

// Receive implements zfs.System.
func (m *Model) Receive(ctx context.Context, o zfs.ReceiveSpec, stream io.Reader) error {
	stream = &contextReader{ctx: ctx, r: stream}
	kind, payload, err := readFrame(stream)
	if err != nil {
		return fmt.Errorf("receive into %s: %w", o.Name, err)
	}
	var h header
	if kind != frameBegin || json.Unmarshal(payload, &h) != nil || !h.plausible() {
		return fmt.Errorf("receive into %s: %w: it does not begin with a header", o.Name, zfs.ErrBadStream)
	}
	if o.Want != nil {
		if err := o.Want.Check(h.head()); err != nil {
			return fmt.Errorf("receive into %s: %w", o.Name, err)
		}
		if o.Want.Found != nil {
			o.Want.Found(h.head())
		}
	}
	d, skip, err := m.begin(o, h)
	if err != nil {
		return fmt.Errorf("receive into %s: %w", o.Name, err)
	}
	if skip {
		_, err := io.Copy(io.Discard, stream)
		return err
	}
	err = m.records(d, stream)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		m.keep(d, o.Resumable)
		return fmt.Errorf("receive into %s: %w", o.Name, err)
	}
	if err := m.finish(d, o); err != nil {
		return fmt.Errorf("receive into %s: %w", o.Name, err)
	}
	return nil
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func (h header) plausible() bool {
	return checkName(h.ToName, '@') == nil && h.To != 0 && (h.Kind == zfs.Filesystem || h.Kind == zfs.Volume) && (h.Resume == nil || *h.Resume >= 0)
}

// records takes the stream to its end. The lock is not held while it is read.
func (m *Model) records(d *dataset, stream io.Reader) error {
	for count := 0; ; count++ {
		kind, payload, err := readFrame(stream)
		if err != nil {
			return err
		}
		if kind == frameEnd {
			var n int
			if json.Unmarshal(payload, &n) != nil || n != count {
				return fmt.Errorf("%w: %d records, and its end says %.20s", zfs.ErrBadStream, count, payload)
			}
			return nil
		}
		var r record
		if kind != frameRecord || json.Unmarshal(payload, &r) != nil {
			return fmt.Errorf("%w: a frame of kind %q", zfs.ErrBadStream, kind)
		}
		m.mu.Lock()
		p := d.partial
		p.contents = append(slices.Clip(p.contents), r)
		p.received++
		p.bytes += uint64(len(payload))
		m.mu.Unlock()
	}
}

// keep is the end of a receive that failed: what has come stays if that was asked for, and if there is anything (dmu_recv_cleanup_ds).
func (m *Model) keep(d *dataset, resumable bool) {
	m.next()
	d.partial.running = false
	if resumable && (d.partial.received > 0 || d.partial.base != nil) {
		return
	}
	d.partial = nil
	if d.inconsistent {
		delete(m.datasets, d.name)
	}
}

// finish makes a snapshot of what was received (dmu_recv_end_sync): it has the GUID and the time of the one that was sent, and a transaction group of
// here.
func (m *Model) finish(d *dataset, o zfs.ReceiveSpec) error {
	p := d.partial
	if p.base != nil && p.base.of == d && d.changed > p.base.txg {
		m.keep(d, o.Resumable)
		return fmt.Errorf("%w since its latest snapshot", zfs.ErrModified)
	}
	_, short, _ := strings.Cut(p.head.ToName, "@")
	txg := m.next()
	d.contents, d.changed, d.partial, d.inconsistent = slices.Clip(p.contents), txg, nil, false
	d.large, d.logged, d.own = d.large || p.head.Large, false, false
	d.size = p.head.Size
	d.snapshots = append(slices.Clone(d.snapshots), &snapshot{
		of: d, size: p.head.Size, name: short, guid: p.head.To, txg: txg, created: unix(p.head.Created), contents: d.contents, large: d.large, user: map[string]setting{},
	})
	for name, value := range p.head.Properties {
		if !slices.Contains(o.Exclude, name) && (isUser(name) || natives[name] != native{}) {
			d.set(name, value, true)
		}
	}
	for name, value := range o.Override {
		if natives[name].onceOnly {
			continue // taken when the dataset was made
		}
		d.set(name, value, false)
	}
	return nil
}

// AbortReceive implements zfs.System (zfs receive -A).
func (m *Model) AbortReceive(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.dataset(name)
	switch {
	case err != nil:
		return err
	case d.partial == nil:
		return fmt.Errorf("abort receive into %s: %w: no partial receive", name, zfs.ErrNotExist)
	case d.partial.running:
		return fmt.Errorf("abort receive into %s: %w", name, zfs.ErrBusy)
	case d.inconsistent && len(m.below(name)) > 1:
		return fmt.Errorf("abort receive into %s: %w", name, zfs.ErrHasDependents)
	}
	d.partial = nil
	if d.inconsistent {
		delete(m.datasets, name)
	}
	m.next()
	return nil
}
