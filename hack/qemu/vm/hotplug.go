package vm

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Names of QEMU's of a disk with a slot: the disk itself, which stays when the device goes, the device, and the slot.
func nodeOf(serial string) string   { return "node-" + serial }
func deviceOf(serial string) string { return "device-" + serial }
func slotOf(serial string) string   { return "slot-" + serial }

// slotArguments are those of a disk with a slot. The root complex of neither machine can have a device put in or taken out while it runs, so there is
// a root port for each (docs/pcie.txt of QEMU, "Hot-plug"). The image is a -blockdev: one of -drive goes with its device (blockdev_mark_auto_del in
// blockdev.c).
func (d Disk) slotArguments(index int) []string {
	image := fmt.Sprintf("driver=%s,node-name=%s,discard=unmap,", d.Format, nodeOf(d.Serial))
	if d.Socket != "" {
		image += d.file()
	} else {
		image += "file.driver=file,file.filename=" + escape(d.Path)
	}
	if d.ReadOnly {
		image += ",read-only=on"
	}
	return []string{
		"-blockdev", image,
		// Chassis and slot tell ports apart, and are not 0.
		"-device", fmt.Sprintf("pcie-root-port,id=%s,chassis=%d,slot=%d", slotOf(d.Serial), index+1, index+1),
		"-device", fmt.Sprintf("virtio-blk-pci,drive=%s,id=%s,bus=%s,serial=%s", nodeOf(d.Serial), deviceOf(d.Serial), slotOf(d.Serial), d.Serial),
	}
}

// PullDisk pulls a disk with a Slot out of the machine, and waits until the guest's kernel has let go of it. What was written stays in the image.
func (v *VM) PullDisk(ctx context.Context, serial string) error {
	if err := v.execute(ctx, "device_del", map[string]string{"id": deviceOf(serial)}); err != nil {
		return fmt.Errorf("pull disk %s: %w", serial, err)
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		there, err := v.hasDevice(ctx, deviceOf(serial))
		if err != nil {
			return fmt.Errorf("pull disk %s: %w", serial, err)
		}
		if !there {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("pull disk %s: wait for the guest to let go of it: %w", serial, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// PlugDisk puts a disk that PullDisk has pulled back into its slot.
func (v *VM) PlugDisk(ctx context.Context, serial string) error {
	err := v.execute(ctx, "device_add", map[string]string{
		"driver": "virtio-blk-pci", "drive": nodeOf(serial), "id": deviceOf(serial), "bus": slotOf(serial), "serial": serial,
	})
	if err != nil {
		return fmt.Errorf("plug disk %s: %w", serial, err)
	}
	return nil
}

// hasDevice asks whether a device of a name is there; one is until the guest has let go of it.
func (v *VM) hasDevice(ctx context.Context, id string) (bool, error) {
	m, err := v.Monitor(ctx)
	if err != nil {
		return false, err
	}
	defer m.Close()
	// All that were given an id (ObjectPropertyInfo in qapi/qom.json of QEMU).
	var devices []property
	if err := m.Execute(ctx, "qom-list", map[string]string{"path": "/machine/peripheral"}, &devices); err != nil {
		return false, err
	}
	return slices.ContainsFunc(devices, func(p property) bool { return p.Name == id }), nil
}

// property is one of an object of QEMU.
type property struct {
	Name string `json:"name"`
}

// Connect lets frames through a -netdev of the machine, or none, in either direction. Behind a hub the guest does not see that: its card keeps its carrier
// (qmp_set_link in net/net.c of QEMU 7.2).
func (v *VM) Connect(ctx context.Context, netdev string, up bool) error {
	return v.execute(ctx, "set_link", map[string]any{"name": netdev, "up": up})
}

// execute opens the monitor for one command without an answer.
func (v *VM) execute(ctx context.Context, name string, arguments any) error {
	m, err := v.Monitor(ctx)
	if err != nil {
		return err
	}
	defer m.Close()
	return m.Execute(ctx, name, arguments, nil)
}
