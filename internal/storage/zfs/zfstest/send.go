package zfstest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Send implements zfs.System. While a stream is open its snapshot is busy.
func (m *Model) Send(ctx context.Context, s zfs.SendSpec) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("send %s: %w", s.Snapshot, err)
	}
	to, head, records, err := m.stream(s)
	if err != nil {
		return nil, err
	}
	to.sending++
	release := sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		to.sending--
	})
	return &outgoing{ctx: ctx, data: bytes.NewReader(encode(head, records)), release: release}, nil
}

type outgoing struct {
	ctx     context.Context
	data    *bytes.Reader
	release func()
}

// Read implements io.Reader.
func (o *outgoing) Read(p []byte) (int, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, fmt.Errorf("read stream: %w", err)
	}
	n, err := o.data.Read(p)
	if err != nil {
		o.release()
	}
	return n, err
}

// Close implements io.Closer.
func (o *outgoing) Close() error {
	o.release()
	o.data.Reset(nil)
	return nil
}

// Estimate implements zfs.System.
func (m *Model) Estimate(_ context.Context, s zfs.SendSpec) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, records, err := m.stream(s)
	return uint64(size(records)), err
}

// Token implements zfs.System.
func (m *Model) Token(_ context.Context, text string) (zfs.Token, error) {
	t, err := parseToken(text)
	if err != nil {
		return zfs.Token{}, err
	}
	h := t.Header
	return zfs.Token{ToName: h.ToName, To: h.To, From: h.From, BytesReceived: t.Bytes, Large: h.AskedLarge, Raw: h.Raw}, nil
}

// stream puts a stream together.
func (m *Model) stream(s zfs.SendSpec) (*snapshot, header, []record, error) {
	if s.ResumeToken != "" {
		return m.resumed(s)
	}
	to, err := m.snapshot(s.Snapshot)
	if err != nil {
		return nil, header{}, nil, fmt.Errorf("send: %w", err)
	}
	var from bookmark
	if s.From != "" {
		name := s.From
		if strings.HasPrefix(name, "@") || strings.HasPrefix(name, "#") {
			name = to.of.name + name
		}
		from, err = m.base(to.of, name)
		switch {
		case err != nil:
			return nil, header{}, nil, fmt.Errorf("send %s from %s: %w", s.Snapshot, s.From, err)
		case from.txg >= to.txg:
			return nil, header{}, nil, fmt.Errorf("send %s from %s: %w: not an earlier snapshot", s.Snapshot, s.From, zfs.ErrInvalid)
		}
	}
	h := m.header(to, s)
	h.From = from.guid
	h.Clone = from.guid != 0 && !to.of.has(from.guid)
	return to, h, to.contents[from.length:], nil
}

func (m *Model) header(to *snapshot, s zfs.SendSpec) header {
	h := header{
		ToName: to.whole(), To: to.guid, Created: to.created.Unix(), Kind: to.of.kind, Size: to.size,
		Large: s.Large && to.large, AskedLarge: s.Large, Raw: s.Raw && to.of.root != nil,
	}
	if h.Raw {
		h.Cipher, h.Large = to.of.encryption, to.large
	}
	if s.Properties {
		h.Properties = map[string]string{}
		for name, v := range to.of.settings {
			if v.local != nil && name != "keyformat" && name != "keylocation" {
				h.Properties[name] = *v.local
			} else if v.received != nil {
				h.Properties[name] = *v.received
			}
		}
	}
	return h
}

// resumed goes on where a token says. The snapshots are found by their GUIDs, also after a rename (zfs_send_resume_impl_cb_impl, guid_to_name).
func (m *Model) resumed(s zfs.SendSpec) (*snapshot, header, []record, error) {
	if s.Snapshot != "" || s.From != "" || s.Properties {
		return nil, header{}, nil, fmt.Errorf("resume send: %w: the token says which stream goes on", zfs.ErrInvalid)
	}
	t, err := parseToken(s.ResumeToken)
	if err != nil {
		return nil, header{}, nil, err
	}
	pool, _, _ := strings.Cut(t.Header.ToName, "/")
	pool, _, _ = strings.Cut(pool, "@")
	to := m.byGUID(pool, t.Header.To)
	if to == nil {
		return nil, header{}, nil, fmt.Errorf("resume send: %w: '%s' used in the initial send no longer exists", zfs.ErrBadToken, t.Header.ToName)
	}
	length := 0
	if t.Header.From != 0 {
		if length, err = to.of.lengthAt(t.Header.From); err != nil {
			return nil, header{}, nil, err
		}
	}
	records := to.contents[length:]
	if t.Records > len(records) {
		return nil, header{}, nil, fmt.Errorf("resume send: %w: it is past the end", zfs.ErrBadToken)
	}
	h := m.header(to, zfs.SendSpec{Large: t.Header.AskedLarge, Raw: t.Header.Raw})
	h.From, h.Resume = t.Header.From, &t.Records
	return to, h, records[t.Records:], nil
}

func (m *Model) byGUID(pool string, guid zfs.GUID) *snapshot {
	for _, d := range m.below(pool) {
		for _, s := range d.snapshots {
			if s.guid == guid {
				return s
			}
		}
	}
	return nil
}

// has says whether a snapshot or bookmark of a GUID is the dataset's own.
func (d *dataset) has(guid zfs.GUID) bool {
	return slices.ContainsFunc(d.snapshots, func(s *snapshot) bool { return s.guid == guid }) ||
		slices.ContainsFunc(d.bookmarks, func(b *bookmark) bool { return b.guid == guid })
}

// lengthAt finds where the snapshot or bookmark of a GUID ended.
func (d *dataset) lengthAt(guid zfs.GUID) (int, error) {
	for of := d; ; of = of.origin.of {
		for _, s := range of.snapshots {
			if s.guid == guid {
				return len(s.contents), nil
			}
		}
		for _, b := range of.bookmarks {
			if b.guid == guid {
				return b.length, nil
			}
		}
		if of.origin == nil {
			return 0, fmt.Errorf("resume send: %w: incremental source %#x no longer exists", zfs.ErrBadToken, uint64(guid))
		}
	}
}

func unix(seconds int64) time.Time { return time.Unix(seconds, 0) }
