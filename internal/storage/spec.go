package storage

import (
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
)

// FileSystem is the type of file system that the domain makes and mounts.
const FileSystem = "ext4"

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
	// Target is the directory on which it is mounted.
	Target string
	// Encryption is how it is made.
	Encryption Encryption
	// Options are mount options of mount(8), such as nodev.
	Options []string
	// Grow says that the partition, which is the last one, is grown to the end of the disk, and its file system with it.
	Grow bool
	// Directories are made on the mounted volume, parents before children.
	Directories []Directory
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

// DefaultSpec is the layout of every node: what the API and the boot ledger keep in state, and what everything else writes in data. etcd is
// the user that the last blocks of data are kept for.
func DefaultSpec(disk string, etcd uint32) Spec {
	return Spec{Disk: disk, Volumes: []Volume{
		{
			Name: State, Target: "/state", Options: []string{"nosuid", "nodev", "noexec", "noatime"},
			Directories: []Directory{{"/state", 0o700}},
		},
		{
			// Not nosuid: root file systems of pods lie here, and images bring programs of that kind.
			// The last blocks are etcd's, and of who has CAP_SYS_RESOURCE: a pod that fills the disk does not stop etcd (ext4(5), resuid).
			Name: Data, Target: "/var", Options: []string{"nodev", "noatime", "resuid=" + strconv.FormatUint(uint64(etcd), 10)}, Grow: true,
			Directories: []Directory{{"/var/etcd", 0o700}, {"/var/plane", 0o755}, {"/var/log", 0o755}, {UpgradeDir, 0o700}, {ExtensionsDir, 0o700}, {ExtensionsDir + "/store", 0o700}, {ExtensionsDir + "/data", 0o700}},
		},
	}}
}
