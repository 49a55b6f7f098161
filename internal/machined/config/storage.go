package config

import "time"

// Pool is a pool of ZFS that the node looks after. The one that it keeps its own things in, SystemPool, is not declared.
type Pool struct {
	// Name is that of no other pool.
	Name string
	// GUID tells it from another pool of the name, and says that it is there and never made; 0 is not given.
	GUID     uint64
	Presence Presence
	// Data are its groups of disks. Without any, the pool is imported and never made.
	Data, Special, Dedup, Log []DiskGroup
	Cache, Spares             []DiskSelector
	// Ashift is the binary logarithm of the size of a sector in bytes; 0 is as the disks say.
	Ashift        int
	Autoexpand    bool
	Autotrim      bool
	Encryption    PoolEncryption
	Compatibility string
	Failmode      string
	Multihost     bool
	// ReadOnly imports it so. Rewind has the node look for an earlier state of a pool that is damaged, and ask before it goes back to it.
	ReadOnly, Rewind bool
	// Scrub and Trim are when they are done; zero is never.
	Scrub, Trim Schedule
}

// PoolEncryption is whether the disks of a pool are encrypted below it.
type PoolEncryption string

// The ways. By PoolEncryptionAuto a new pool is encrypted where the node's own volumes are, and one that is there stays as it is.
const (
	PoolEncryptionAuto  PoolEncryption = "auto"
	PoolEncryptionLUKS2 PoolEncryption = "luks2"
	PoolEncryptionNone  PoolEncryption = "none"
)

// SystemPool is the node's own pool, and SystemVolumes what of it is for datasets of others.
const (
	SystemPool    = "node"
	SystemVolumes = SystemPool + "/plane/volumes"
)

// Presence is whether a pool is to be there.
type Presence string

// The presences. Destroyed does nothing until a person has confirmed it by the pool's name.
const (
	PoolImported  Presence = "imported"
	PoolExported  Presence = "exported"
	PoolDestroyed Presence = "destroyed"
)

// Layout is how a group of disks keeps its data.
type Layout string

// The layouts (zpoolconcepts(7)). Disks of a single group are independent of each other: when one fails, all data is lost.
const (
	LayoutSingle Layout = "single"
	LayoutMirror Layout = "mirror"
	LayoutRAIDZ1 Layout = "raidz1"
	LayoutRAIDZ2 Layout = "raidz2"
	LayoutRAIDZ3 Layout = "raidz3"
)

// DiskGroup is a top-level vdev, or of the layout single several.
type DiskGroup struct {
	Layout Layout
	Disks  []DiskSelector
}

// DiskSelector says which one disk is meant: all that is given has to match.
type DiskSelector struct {
	// Sizes are conditions such as ">=100GB".
	Sizes []string
	// Type is ssd, hdd or nvme. Model, Serial, WWN and Path may have * for any text and ? for any character.
	Type, Model, Serial, WWN, Bus, Path string
}

// Dataset is a file system or volume that the node makes, and whose properties it sets.
type Dataset struct {
	Name string
	// Volume is nil for a file system.
	Volume *Volume
	// Properties are by the names of ZFS. Sizes are numbers of bytes.
	Properties map[string]string
	// UserProperties have a colon in their names.
	UserProperties map[string]string
}

// Volume is what makes a dataset a volume.
type Volume struct {
	SizeBytes uint64
	// BlockBytes is the size of its blocks for its life; 0 is what ZFS chooses.
	BlockBytes uint64
	Sparse     bool
}

// SnapshotSchedule says when snapshots are made of some datasets, and which of them are kept.
type SnapshotSchedule struct {
	Name     string
	Datasets []DatasetTree
	// Schedule is zero for one that makes none, and only keeps and prunes.
	Schedule Schedule
	// Prefix is what the names of the snapshots begin with.
	Prefix string
	Keep   Keep
}

// DatasetTree is a dataset and, unless it is not recursive, what is below it.
type DatasetTree struct {
	Name      string
	Recursive bool
	// Exclude are datasets below it that are left out, with all below them.
	Exclude []string
}

// Keep says which snapshots stay: those that any rule keeps. Without counts and a least age all do.
type Keep struct {
	Last, Hourly, Daily, Weekly, Monthly, Yearly int
	// Matching is a regular expression (RE2) for names that are never pruned; empty is none.
	Matching string
	MinAge   time.Duration
}

// ReplicationJob brings snapshots from one node to another.
type ReplicationJob struct {
	Name string
	// UUID is what the job is known by on disk, in lower case; it stays when the name changes.
	UUID      string
	Direction Direction
	Peer      Peer
	// Sources are recursive.
	Sources []DatasetTree
	// Target is the dataset of the receiving node below which what is received lies, under its whole name.
	Target    string
	Guarantee Guarantees
	// BandwidthBytes is how much may be sent in a second; 0 is no limit.
	BandwidthBytes uint64
	// Prefix, if not empty, is what the names of the snapshots that are sent begin with.
	Prefix string
	// Schedule is zero where the peer runs the job.
	Schedule Schedule
	// Promoted says that what was received here is the primary now, and is declared as other datasets are. The job stays: it is how the old primary is told.
	Promoted bool
	// PeerRetired says that the other node writes to its tree no more, being told or gone: then the job of a tree that was promoted here may be taken out.
	PeerRetired bool
	// Run is who runs the job; the other node only lets it.
	Run         Place
	Compression Compression
	History     History
	// Verify has the files of each snapshot compared that was received.
	Verify bool
}

// Place is one of the two nodes of a job.
type Place string

// The places.
const (
	// RunHere has this node do all the work.
	RunHere Place = "here"
	// RunPeer lets the peer do it, and nothing else.
	RunPeer Place = "peer"
)

// Compression is how blocks are sent.
type Compression string

// The ways.
const (
	// CompressionStored sends them as they lie on the disk.
	CompressionStored Compression = "stored"
	// CompressionNone sends them unpacked, of 128 KiB at most.
	CompressionNone Compression = "none"
)

// History is which snapshots a replica begins with.
type History string

// The histories.
const (
	// HistoryAll begins with the oldest.
	HistoryAll History = "all"
	// HistoryLatest begins with the newest.
	HistoryLatest History = "latest"
)

// Direction is who has the source.
type Direction string

// The directions.
const (
	// DirectionPush sends from this node to the peer.
	DirectionPush Direction = "push"
	// DirectionPull fetches from the peer.
	DirectionPull Direction = "pull"
)

// Peer is the other node.
type Peer struct {
	// Address is its API's: host:port.
	Address string
	// Identity is a name in its certificate.
	Identity string
	// CA is the authority of that, PEM; empty is this node's own.
	CA string
}

// Guarantee is what of a replication can be relied on.
type Guarantee string

// The guarantees.
const (
	// GuaranteeResumability lets a step go on where it was cut; what it sends is held until it is done.
	GuaranteeResumability Guarantee = "resumability"
	// GuaranteeIncremental lets the next step build on the last. A step that is cut may have to begin anew, if its snapshots were pruned.
	GuaranteeIncremental Guarantee = "incremental"
	// GuaranteeNone keeps nothing: if the last common snapshot is pruned, the replica has to be made anew.
	GuaranteeNone Guarantee = "none"
)

// Guarantees are those of the first step and of all others.
type Guarantees struct{ Initial, Incremental Guarantee }
