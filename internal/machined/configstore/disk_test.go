package configstore

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"syscall"
	"testing"
	"time"
)

var errPower = errors.New("power failed")

// disk is a directory that forgets what was not synced when its power fails.
type disk struct {
	files  map[string]content // as the running system sees them
	stable map[string]content // as the directory was last synced
	// left is how many more operations succeed; negative is all.
	left int
	// unread fail to be read. A full disk takes half of what is written.
	unread map[string]error
	full   bool
}

type content struct {
	data   string
	synced bool
}

func newDisk() *disk {
	return &disk{files: map[string]content{}, stable: map[string]content{}, left: -1}
}

// step is an operation that changes something.
func (d *disk) step() error {
	if d.left == 0 {
		return errPower
	}
	if d.left > 0 {
		d.left--
	}
	return nil
}

func (d *disk) List() ([]string, error) { return slices.Sorted(maps.Keys(d.files)), nil }

func (d *disk) Read(name string) ([]byte, error) {
	if err := d.unread[name]; err != nil {
		return nil, err
	}
	c, ok := d.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(c.data), nil
}

func (d *disk) Write(name string, data []byte) error {
	// Of what is written when the power fails, any part may be there.
	if err := d.step(); err != nil {
		d.files[name] = content{data: string(data[:len(data)/2])}
		return err
	}
	if d.full {
		d.files[name] = content{data: string(data[:len(data)/2])}
		return syscall.ENOSPC
	}
	d.files[name] = content{data: string(data)}
	return nil
}

func (d *disk) Sync(name string) error {
	if err := d.step(); err != nil {
		return err
	}
	c, ok := d.files[name]
	if !ok {
		return fs.ErrNotExist
	}
	c.synced = true
	d.files[name] = c
	return nil
}

func (d *disk) Rename(from, to string) error {
	if err := d.step(); err != nil {
		return err
	}
	d.files[to] = d.files[from]
	delete(d.files, from)
	return nil
}

func (d *disk) Remove(name string) error {
	if err := d.step(); err != nil {
		return err
	}
	delete(d.files, name)
	return nil
}

func (d *disk) SyncDir() error {
	if err := d.step(); err != nil {
		return err
	}
	d.stable = maps.Clone(d.files)
	return nil
}

// fates are what the disk may hold after the power failed: the directory as it was synced or as it was seen, and of content that was not
// synced nothing, a part or all.
func (d *disk) fates() []*disk {
	var out []*disk
	for _, directory := range []map[string]content{d.stable, d.files} {
		for _, part := range []float64{0, 0.5, 1} {
			fate := newDisk()
			for name, c := range directory {
				if now, ok := d.files[name]; ok && now.data == c.data {
					c.synced = c.synced || now.synced
				}
				if !c.synced {
					c.data = c.data[:int(part*float64(len(c.data)))]
				}
				fate.files[name] = content{c.data, true}
			}
			fate.stable = maps.Clone(fate.files)
			out = append(out, fate)
		}
	}
	return out
}

func (d *disk) clone() *disk {
	return &disk{files: maps.Clone(d.files), stable: maps.Clone(d.stable), left: -1}
}

// running is a system that a store is opened in.
type running struct {
	boot  string
	since time.Duration
}

var start = time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)

// open opens the store.
func (r *running) open(t testing.TB, d Dir) *Store {
	t.Helper()
	s, err := Open(d, Config{
		Boot: r.boot, SinceBoot: func() time.Duration { return r.since }, Now: func() time.Time { return start.Add(r.since) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// apply stores a document that takes effect whole.
func apply(t testing.TB, s *Store, document string) Revision {
	t.Helper()
	r, err := s.Add(Revision{By: "alice", Mode: Auto, Document: []byte(document)}, func(r Record, n uint64) (Record, error) { return r.Applied(n, true) })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// holds is the current document, or what is wrong.
func holds(s *Store) string {
	r, err := s.Current()
	switch {
	case err != nil:
		return err.Error()
	case r == nil:
		return ""
	}
	return string(r.Document)
}
