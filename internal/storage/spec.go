package storage

import (
	"fmt"
	"io/fs"
	"log/slog"
)

// FileSystem is the type of file system that the domain makes and mounts. PoolMember is the Signature of a device of a pool of ZFS.
const (
	FileSystem = "ext4"
	PoolMember = "zfs"
)

// PoolName is the name of the node's own pool.
const PoolName = "node"

// The names of the node's volumes, which are the names of their partitions too.
const (
	State = "state"
	Data  = "data"
)

// Mode is how a volume is encrypted.
type Mode string

// The modes. A volume that is there keeps the one it was made with.
const (
	// Plain volumes are not encrypted.
	Plain Mode = ""
	// Undecided leaves a blank partition as it is: what it is to be is not known yet.
	Undecided Mode = "undecided"
	// TPM volumes are opened by the machine's TPM: state with a key that is sealed to it, the others with keys that lie on state.
	TPM Mode = "tpm"
	// KMS volumes are opened by a key server: state with a key of which it has one half, the others as with TPM.
	KMS Mode = "kms"
	// Passphrase volumes are opened by a passphrase that the machine is given at each boot: state with a key that is wrapped by it, the others as with TPM.
	Passphrase Mode = "passphrase"
)

// Encrypts says that volumes of the mode are encrypted.
func (m Mode) Encrypts() bool { return m == TPM || m == KMS || m == Passphrase }

// Encryption is how a volume is encrypted, and what is known of what opens it.
type Encryption struct {
	Mode Mode
	// Held leaves a blank partition as it is, whatever the Mode: what belongs on another volume before is still to get there.
	Held bool
	// Server is that of the mode KMS, for volumes that are made or sealed anew; those that are there know their own.
	Server KeyServer
	// Passphrase is what the machine was given, in whatever mode; the zero Secret is nothing.
	Passphrase Secret
}

// KeyServer is a server that keeps half of a key.
type KeyServer struct {
	// Endpoint is its URL, CA the authorities of its certificate, PEM.
	Endpoint, CA string
	// Certificate and Key are what the node shows it, PEM; empty where it asks for nothing.
	Certificate string
	Key         Secret
}

// Secret is a text that prints as "[redacted]". Only Reveal gives it out.
type Secret struct{ text string }

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text, for the place that uses it.
func (s Secret) Reveal() string { return s.text }

// Equal reports whether both hold the same text; go-cmp uses it. It is not constant in time.
func (s Secret) Equal(o Secret) bool { return s.text == o.text }

// Format writes a fixed text for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Spec is the whole desired state of the node's volumes.
type Spec struct {
	// Disk is the device of the system disk, such as /dev/vda.
	Disk string
	// Cap has the TPM give out no key any more, before anything on the state volume is read. It is for nodes that have a TPM, whether anything on them is
	// sealed or not.
	Cap bool
	// Volumes are brought up in this order.
	Volumes []Volume
}

// Volume is the desired state of one partition of the system disk.
type Volume struct {
	// Name is the partition's name in the partition table, and the label of its file system.
	Name string
	// Target is the directory on which it is mounted; that of a volume with a pool is that of its first dataset.
	Target string
	// Encryption is how it is made.
	Encryption Encryption
	// Options are mount options of mount(8), such as nodev. A volume with a pool has none: its datasets do.
	Options []string
	// Pool makes the volume a pool of ZFS in place of a file system.
	Pool *Pool
	// Grow says that the partition, which is the last one, is grown to the end of the disk, and its pool with it.
	Grow bool
	// Directories are made on the mounted volume, parents before children.
	Directories []Directory
}

// signature is what a partition holds that was made for the volume.
func (v Volume) signature() string {
	if v.Pool != nil {
		return PoolMember
	}
	return FileSystem
}

// Pool is what a volume holds that is not a single file system.
type Pool struct {
	Name string
	// Properties are given to zpool create, and not changed afterwards; Inherited are properties of its root dataset, which all in it inherit.
	Properties, Inherited map[string]string
	// Datasets are made and mounted in this order.
	Datasets []Dataset
}

// Dataset is a file system of a pool.
type Dataset struct {
	// Name is the part behind the pool's.
	Name string
	// Target is where it is mounted; empty for one that only has others below it.
	Target  string
	Options []string
	// Properties are kept as they are here; others that a person has set are left alone.
	Properties map[string]string
	// Reserve is kept for it whatever others write, and Quota is what it may take with its snapshots. The zero Share is none.
	Reserve, Quota Share
	// Rest gives it, and all below it, a quota of what the pool has beyond the shares of the others and some room to work in (Pool.rest).
	Rest bool
	// Directories are made once it is mounted, parents before children.
	Directories []Directory
}

// Share is a part of a pool.
type Share struct {
	// Percent is that of the pool's size, and MaxBytes what it is at most.
	Percent, MaxBytes uint64
}

// bytes of a pool with a size, in whole MiB so that a pool that grew by a little changes nothing.
func (s Share) bytes(poolBytes uint64) uint64 {
	const mib = 1 << 20
	return min(poolBytes/100*s.Percent, s.MaxBytes) / mib * mib
}

// Directory is a directory owned by root. The zero Mode leaves permissions of one that exists alone.
type Directory struct {
	// Path is absolute and lies in its volume's target, or is the target itself.
	Path string
	Mode fs.FileMode
}

// UpgradeDir is where a release waits to be installed.
const UpgradeDir = "/var/upgrade"

// ExtensionsDir is where extensions lie, and below it the data of their services.
const ExtensionsDir = "/var/extensions"

// DefaultSpec is the layout of every node: what the API and the boot ledger keep in state, and what everything else writes in data, which is the pool of
// ZFS of the node.
func DefaultSpec(disk string) Spec {
	return Spec{Disk: disk, Volumes: []Volume{
		{
			Name: State, Target: "/state", Options: []string{"nosuid", "nodev", "noexec", "noatime"},
			Directories: []Directory{{"/state", 0o700}},
		},
		{Name: Data, Target: "/var", Grow: true, Pool: nodePool()},
	}}
}

// nodePool has a dataset for each who writes much, so that none takes the room of another: etcd's is kept for it, and what is left when logs, images and
// pods have taken all they may is enough for the next release. All that is the workload plane's lies below one dataset, which cannot fill the pool.
func nodePool() *Pool {
	const gib = 1 << 30
	return &Pool{
		Name: PoolName,
		// A node that goes back to the release before has to import it again: features are those of OpenZFS 2.3 for good, and not of what is newer
		// (zpoolprops(7), compatibility). Sectors of 4096 bytes, as a disk may be copied to one that has them (ashift).
		Properties: map[string]string{"ashift": "12", "autotrim": "on", "compatibility": "openzfs-2.3"},
		Inherited: map[string]string{
			"acltype": "posix", "atime": "off", "canmount": "off", "compression": "lz4", "dnodesize": "auto", "mountpoint": "none", "xattr": "sa",
		},
		Datasets: []Dataset{
			{
				Name: "var", Target: "/var", Options: []string{"nodev", "noatime"}, Reserve: Share{5, gib},
				Directories: []Directory{
					{"/var/plane", 0o755}, {"/var/plane/lib", 0o755}, {UpgradeDir, 0o700},
					{ExtensionsDir, 0o700}, {ExtensionsDir + "/store", 0o700}, {ExtensionsDir + "/data", 0o700},
				},
			},
			// The database is written in pages of 4 KiB, and the log in entries of about as much: records of 128 KiB would be read and written whole for each.
			{
				Name: "etcd", Target: "/var/etcd", Options: []string{"nosuid", "nodev", "noexec", "noatime"}, Properties: map[string]string{"recordsize": "16384"},
				Reserve: Share{10, 10 * gib}, Directories: []Directory{{"/var/etcd", 0o700}},
			},
			{
				Name: "log", Target: "/var/log", Options: []string{"nosuid", "nodev", "noexec", "noatime"}, Properties: map[string]string{"compression": "zstd"},
				Quota: Share{10, 4 * gib}, Directories: []Directory{{"/var/log", 0o755}},
			},
			{Name: "plane", Rest: true},
			// Not nosuid: root file systems of pods lie here, and images bring programs of that kind.
			{Name: "plane/containerd", Target: "/var/plane/lib/containerd", Options: []string{"nodev", "noatime"}, Directories: []Directory{{"/var/plane/lib/containerd", 0o700}}},
			{Name: "plane/kubelet", Target: "/var/plane/lib/kubelet", Options: []string{"nodev", "noatime"}, Directories: []Directory{{"/var/plane/lib/kubelet", 0o700}}},
			{Name: "plane/volumes"},
		},
	}
}
