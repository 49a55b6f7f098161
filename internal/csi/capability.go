package csi

import (
	"slices"
	"strings"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/status"
)

// File systems of volumes. Zfs is a dataset.
const (
	zfsName = "zfs"
	ext4    = "ext4"
	xfs     = "xfs"
)

// mountFlags are the options of a mount that a StorageClass may ask for. Others are of no use here, or could change what the file system is: data=
// and errors=, say.
var mountFlags = []string{"noatime", "nodiratime", "relatime", "nosuid", "nodev", "noexec", "ro"}

// access is what a capability asks for.
type access struct {
	mode  spec.VolumeCapability_AccessMode_Mode
	block bool
	// fileSystem is empty where it is left to the driver.
	fileSystem string
	flags      []string
}

// readOnly says whether nothing may be written.
func (a access) readOnly() bool {
	return a.mode == spec.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY || slices.Contains(a.flags, "ro")
}

// accessOf reads a capability. The error says what of it the driver does not have.
func (d *Driver) accessOf(c *spec.VolumeCapability) (access, error) {
	a := access{mode: c.GetAccessMode().GetMode()}
	switch a.mode {
	case spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, spec.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
		spec.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER, spec.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER:
	case spec.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY, spec.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER,
		spec.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER:
		return a, refuse("access mode %s: a volume is on the disks of one node and cannot be used on others; ask for ReadWriteOnce, which any number of pods "+
			"on that node share, or ReadWriteOncePod", a.mode)
	default:
		return a, refuse("access mode %s: expected SINGLE_NODE_SINGLE_WRITER or SINGLE_NODE_MULTI_WRITER (ReadWriteOncePod, ReadWriteOnce)", a.mode)
	}
	switch m := c.GetMount(); {
	case c.GetBlock() != nil:
		a.block = true
		if a.readOnly() {
			return a, refuse("a device cannot be published read-only: the kernel lets one be written through a read-only mount; use volumeMode Filesystem")
		}
		return a, nil
	case m == nil:
		return a, refuse("access type: expected block or mount")
	case m.GetVolumeMountGroup() != "":
		return a, refuse("volume mount group: the driver does not have VOLUME_MOUNT_GROUP, and kubelet sets the group itself")
	default:
		a.fileSystem, a.flags = m.GetFsType(), m.GetMountFlags()
		return a, d.checkMount(a)
	}
}

// accessAtNode is accessOf for a volume that is to be used. What none of the driver's can do exceeds the volume's capabilities then, and is no fault of the
// request (the tables of errors of NodeStageVolume and NodePublishVolume).
func (d *Driver) accessAtNode(c *spec.VolumeCapability) (access, error) {
	a, err := d.accessOf(c)
	if err != nil && c.GetAccessType() != nil && c.GetAccessMode().GetMode() != spec.VolumeCapability_AccessMode_UNKNOWN {
		err = precondition("%s", status.Convert(err).Message())
	}
	return a, err
}

func (d *Driver) checkMount(a access) error {
	switch {
	case a.fileSystem == "" || a.fileSystem == zfsName || slices.Contains(d.FileSystems, a.fileSystem):
	default:
		return refuse("file system %.64q: expected %s", a.fileSystem, strings.Join(append([]string{zfsName}, d.FileSystems...), " or "))
	}
	for _, flag := range a.flags {
		if !slices.Contains(mountFlags, flag) {
			// The text may be sensitive, and is not shown (VolumeCapability.MountVolume.mount_flags).
			return refuse("mount options: one is none of %s", strings.Join(mountFlags, ", "))
		}
	}
	return nil
}

// accessesOf reads all capabilities of a volume that is to be made: what it is, it is for all of them.
func (d *Driver) accessesOf(all []*spec.VolumeCapability) (access, error) {
	if len(all) == 0 {
		return access{}, refuse("volume capabilities: expected one at least")
	}
	var first access
	for i, c := range all {
		a, err := d.accessOf(c)
		if err != nil {
			return a, err
		}
		if i == 0 {
			first = a
		}
		if a.block != first.block || a.fileSystem != first.fileSystem {
			return a, refuse("volume capabilities: one volume cannot be %s and %s", describe(first), describe(a))
		}
	}
	return first, nil
}

func describe(a access) string {
	switch {
	case a.block:
		return "a device"
	case a.fileSystem == "":
		return "a file system of any kind"
	}
	return "a file system of kind " + a.fileSystem
}

// fits says why a volume cannot be used as a capability asks, or nothing.
func (v volume) fits(a access) string {
	switch {
	case v.block() && !a.block:
		return "volume " + v.id + " is a device, not a file system"
	case !v.block() && a.block:
		return "volume " + v.id + " is a file system, not a device"
	case a.fileSystem != "" && a.fileSystem != v.fileSystem:
		return "volume " + v.id + " has the file system " + v.fileSystem + ", not " + a.fileSystem
	}
	return ""
}
