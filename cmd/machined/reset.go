package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/etcd"
	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/boot/marker"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
	"github.com/cyvive/cyvive/internal/storage/notes"
)

// resets makes what the agent wipes volumes with. It is nil where the system was not started from a slot of a disk.
func resets(disk *blockdev.Disk, m marker.Marker) *machined.Resets {
	if m.Slot == "" || m.Disk == "" {
		return nil
	}
	n := note{device: "/dev/" + m.Disk}
	return &machined.Resets{
		Read: n.read, Write: n.write, Clear: n.clear,
		Wipe: func(ctx context.Context, volume string) error { return wipe(ctx, disk, n.device, volume) },
		Leave: func(ctx context.Context, ca *pki.Authority) (bool, error) {
			return etcd.Leave(ctx, ca, time.Now())
		},
	}
}

// note is what is noted on the system disk, as of a reset.
type note struct{ device string }

func (n note) with(write bool, do func(notes.Device) error) error {
	w, err := blockdev.OpenShared(n.device, write)
	if err != nil {
		return err
	}
	return errors.Join(do(w), w.Close())
}

func (n note) read() (data []byte, err error) {
	err = n.with(false, func(d notes.Device) error {
		data, err = notes.Read(d, notes.Reset)
		if errors.Is(err, notes.ErrDamaged) {
			return nil // no power cut does that, and nobody can say what it was
		}
		return err
	})
	return data, err
}

func (n note) write(data []byte) error {
	return n.with(true, func(d notes.Device) error { return notes.Write(d, notes.Reset, data) })
}

func (n note) clear() error {
	return n.with(true, func(d notes.Device) error { return notes.Clear(d, notes.Reset) })
}

// wipe makes a volume of the system disk blank.
func wipe(ctx context.Context, disk *blockdev.Disk, device, volume string) error {
	if !slices.Contains([]string{storage.State, storage.Data}, volume) {
		return fmt.Errorf("wipe %s: it is no volume of the node", volume)
	}
	list, err := disk.Partitions(ctx, device)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(p storage.Partition) bool { return p.Name == volume })
	if i < 0 {
		return fmt.Errorf("wipe %s: %s has no such partition", volume, device)
	}
	err = blockdev.Wipe(ctx, list[i].Device)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("wipe %s: it is in use: %w", volume, err)
	}
	return err
}
