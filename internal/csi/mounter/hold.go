package mounter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/machined/boot/loopdev"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Devices is what devices of volumes are handed to pods by. Without it none are.
type Devices struct {
	// KubeletDir is the Mounter's directory as kubelet names it.
	KubeletDir string
	// List is the kernel's, of the devices that pods may open.
	List List
	// Load loads the driver of loop devices, unless it is loaded.
	Load func() error
}

// List is the list of block devices that pods may open, by their numbers as the kernel writes them (major<<20 | minor). lsm.Volumes implements it. To admit
// what is on it, or to refuse what is not, is no error.
type List interface {
	Admit(device uint32) error
	Refuse(device uint32) error
	Admitted() ([]uint32, error)
}

// loops is what of loopdev.Kernel is used here.
type loops interface {
	Open(number uint64, as string) (*os.File, error)
	Hold(f *os.File) error
	List(prefix string) ([]loopdev.Held, error)
	LetGo(name string) (io.Closer, error)
}

// maxHeld bounds for how many targets devices are held: each takes memory of the kernel's, and whoever is root of the workload plane can ask for them.
const maxHeld = 512

// heldAs is the path under which the device on a target is held. For one of kubelet's it is the file on which kubelet binds what is published: by that name it
// looks for a loop device, and makes none of its own where there is one (AttachFileDevice in pkg/volume/util/volumepathhandler of Kubernetes 1.36). When it takes the
// volume back it cannot detach the loop device, of which the plane's /dev has no node, and takes it for detached (removeLoopDevice).
func (m *Mounter) heldAs(target string) string {
	return path.Join(m.devices.KubeletDir, csi.DeviceLock(target))
}

// hold has the kernel hold the device of a volume for a target, and then puts it on the list; held says that there is something to give back. In this order, and in
// the other when it is given back: so each device on the list is held, and its number its own, whenever the agent is killed.
func (m *Mounter) hold(volume string, number uint64, target string) (held bool, err error) {
	if m.devices.List == nil {
		return false, fmt.Errorf("hand the device of volume %s to a pod: this node has no list of devices for pods", volume)
	}
	if err := m.devices.Load(); err != nil {
		return false, fmt.Errorf("hold the device of volume %s: %w", volume, err)
	}
	as := m.heldAs(target)
	f, err := m.loops.Open(number, as)
	if err != nil {
		return false, err
	}
	defer f.Close() // the loop device has it open then, or nobody
	// Its number alone may be another device's by now. Open, it stays what it is.
	switch is, err := m.nameOpen(f); {
	case err != nil:
		return false, fmt.Errorf("ask the device of volume %s for its name: %w", volume, err)
	case is != volume:
		return false, fmt.Errorf("hold the device of volume %s: it has become that of %s", volume, is)
	}
	m.holding.Lock()
	defer m.holding.Unlock()
	all, err := m.loops.List(m.devices.KubeletDir + "/")
	if err != nil {
		return false, err
	}
	device := unix.Major(number)<<20 | unix.Minor(number)
	i := slices.IndexFunc(all, func(h loopdev.Held) bool { return h.As == as })
	switch {
	case i < 0 && len(all) >= maxHeld:
		return false, fmt.Errorf("hold the device of volume %s for %s: %d are held, and no more can be", volume, target, len(all))
	case i < 0:
		if err := m.loops.Hold(f); err != nil {
			return false, err
		}
	case all[i].Device != device:
		return false, fmt.Errorf("hold the device of volume %s for %s: %w: another is held for it; unpublish that first", volume, target, zfs.ErrBusy)
	}
	return true, m.devices.List.Admit(device)
}

// ReleaseDevice implements csi.Mounts.
func (m *Mounter) ReleaseDevice(ctx context.Context, target string) error {
	as := m.heldAs(target)
	going, err := m.letGo(func(h loopdev.Held) bool { return h.As == as })
	ended := make(chan error, len(going))
	for _, g := range going {
		go func() { ended <- g.Close() }()
	}
	for range going {
		select {
		case e := <-ended:
			err = errors.Join(err, e)
		case <-ctx.Done():
			err = errors.Join(err, fmt.Errorf("wait until all of it is written, for which its pool may be suspended: %w", context.Cause(ctx)))
		}
	}
	if err != nil {
		return fmt.Errorf("release the device on %s: %w", target, classed(err))
	}
	return nil
}

// letGo takes devices off the list, unless they are held for another target, too, and then ends what holds them, which has ended when what is returned is closed.
// That may wait for the device, and is done without the lock.
func (m *Mounter) letGo(goes func(loopdev.Held) bool) (going []io.Closer, err error) {
	if m.devices.List == nil {
		return nil, nil
	}
	m.holding.Lock()
	defer m.holding.Unlock()
	all, err := m.loops.List(m.devices.KubeletDir + "/")
	if err != nil {
		return nil, err
	}
	stays := map[uint32]bool{}
	for _, h := range all {
		stays[h.Device] = stays[h.Device] || !goes(h)
	}
	for _, h := range all {
		if !goes(h) {
			continue
		}
		if !stays[h.Device] {
			if err := m.devices.List.Refuse(h.Device); err != nil {
				return going, err
			}
		}
		g, err := m.loops.LetGo(h.Name)
		if err != nil {
			return going, err
		}
		going = append(going, g)
	}
	return going, nil
}

// RestoreDevices implements csi.Mounts.
func (m *Mounter) RestoreDevices(ctx context.Context) error {
	if m.devices.List == nil {
		return nil
	}
	infos, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return i.FSType != "devtmpfs" || !strings.HasPrefix(i.Mountpoint, m.root+"/"), ctx.Err() != nil
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("restore the devices of pods: %w", err)
	}
	var bound []string
	for _, i := range infos {
		bound = append(bound, strings.TrimPrefix(i.Mountpoint, m.root+"/"))
	}
	if err := m.restore(bound); err != nil {
		return fmt.Errorf("restore the devices of pods: %w", err)
	}
	return nil
}

// restore has what is bound on targets be held and on the list, and nothing else. What is bound was held before, and nobody but the Mounter ends that.
func (m *Mounter) restore(bound []string) error {
	wanted := map[string]bool{}
	for _, target := range bound {
		wanted[m.heldAs(target)] = true
	}
	going, err := m.letGo(func(h loopdev.Held) bool { return !wanted[h.As] })
	for _, g := range going {
		go func() { _ = g.Close() }() // a device of a pool that is suspended may keep it
	}
	if err != nil {
		return err
	}
	m.holding.Lock()
	defer m.holding.Unlock()
	all, err := m.loops.List(m.devices.KubeletDir + "/")
	if err != nil {
		return err
	}
	listed, err := m.devices.List.Admitted()
	if err != nil {
		return err
	}
	held := map[uint32]bool{}
	for _, h := range all {
		held[h.Device] = true
		err = errors.Join(err, m.devices.List.Admit(h.Device))
	}
	for _, device := range listed {
		if !held[device] {
			err = errors.Join(err, m.devices.List.Refuse(device))
		}
	}
	return err
}
