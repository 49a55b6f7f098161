package install

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/google/uuid"
)

const (
	sectorBytes = 512
	mib         = 1 << 20
	// alignBytes is where partitions begin: a multiple of it. The first one begins there.
	alignBytes = mib
)

// Sizes are those of the partitions, in bytes and multiples of 1 MiB.
type Sizes struct {
	ESP, Root, Verity, State int64
	// Data is the least; it takes all that is left.
	Data int64
}

// NodeSizes are those of every node, and of its images (images/internal/build/disk.go). The least of data is what ZFS takes (SPA_MINDEVSIZE of
// include/sys/fs/zfs.h), and the header of an encrypted volume before it.
func NodeSizes() Sizes {
	return Sizes{ESP: 512 * mib, Root: 1024 * mib, Verity: 16 * mib, State: 64 * mib, Data: 68 * mib}
}

// total is the smallest disk that has room.
func (s Sizes) total() int64 {
	return alignBytes + s.ESP + 2*(s.Root+s.Verity) + s.State + s.Data + alignBytes
}

// The names of partitions.
const (
	espName     = "esp"
	rootAName   = "root-a"
	verityAName = "verity-a"
	rootBName   = "root-b"
	verityBName = "verity-b"
	stateName   = "state"
	dataName    = "data"
)

// Types of partitions, of the UAPI Discoverable Partitions Specification. State and data are generic Linux data: the node finds them by name, and nothing
// else is to mount them by type.
const (
	typeESP   = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	typeLinux = "0fc63daf-8483-4772-8e79-3d69d8477de4"
)

// rootTypes are those of the root and of its hash tree, by architecture.
var rootTypes = map[string][2]string{
	"amd64": {"4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"},
	"arm64": {"b921b045-1df0-41c3-af44-4c6f280d3fae", "df3300ce-d69f-4c92-978c-9bfb0f38d820"},
}

// Partition is a part of the disk.
type Partition struct {
	Name       string
	Type, UUID uuid.UUID
	// Start and Bytes are in bytes.
	Start, Bytes int64
}

// Layout is a whole disk.
type Layout struct {
	GUID       uuid.UUID
	DiskBytes  int64
	Partitions []Partition
}

// newLayout divides a disk. All UUIDs follow from the disk's, but those of the slot that is written: they are the halves of its root hash, by which the
// kernel finds them.
func newLayout(diskBytes int64, sizes Sizes, r Release, guid uuid.UUID) (Layout, error) {
	if diskBytes < sizes.total() {
		return Layout{}, fmt.Errorf("%w: it has %s, an installation needs %s", ErrDisk, sizeText(diskBytes), sizeText(sizes.total()))
	}
	types, known := rootTypes[r.Architecture]
	hash, err := hex.DecodeString(r.RootHash)
	if !known || err != nil || len(hash) != 32 {
		return Layout{}, fmt.Errorf("lay out disk: architecture %q with root hash %q", r.Architecture, r.RootHash)
	}
	own := func(name string) uuid.UUID { return derived(guid, name) }
	root, verity := uuid.MustParse(types[0]), uuid.MustParse(types[1])
	linux := uuid.MustParse(typeLinux)
	l := Layout{GUID: guid, DiskBytes: diskBytes, Partitions: []Partition{
		{Name: espName, Type: uuid.MustParse(typeESP), UUID: own(espName), Bytes: sizes.ESP},
		{Name: rootAName, Type: root, UUID: uuid.UUID(hash[:16]), Bytes: sizes.Root},
		{Name: verityAName, Type: verity, UUID: uuid.UUID(hash[16:]), Bytes: sizes.Verity},
		{Name: rootBName, Type: root, UUID: own(rootBName), Bytes: sizes.Root},
		{Name: verityBName, Type: verity, UUID: own(verityBName), Bytes: sizes.Verity},
		{Name: stateName, Type: linux, UUID: own(stateName), Bytes: sizes.State},
		{Name: dataName, Type: linux, UUID: own(dataName)},
	}}
	at := int64(alignBytes)
	for i := range l.Partitions {
		p := &l.Partitions[i]
		p.Start = at
		at += p.Bytes
	}
	last := &l.Partitions[len(l.Partitions)-1]
	// The copy of the table takes 33 sectors at the end.
	last.Bytes = (diskBytes-tableCopyBytes)/alignBytes*alignBytes - last.Start
	return l, nil
}

// derived is a UUID of version 8 (RFC 9562, 5.8), made of another and a name.
func derived(from uuid.UUID, name string) uuid.UUID {
	sum := sha256.Sum256(append(from[:], name...))
	id := uuid.UUID(sum[:16])
	id[6], id[8] = id[6]&0x0F|0x80, id[8]&0x3F|0x80
	return id
}

// partition returns one by its name, which every layout has.
func (l Layout) partition(name string) Partition {
	for _, p := range l.Partitions {
		if p.Name == name {
			return p
		}
	}
	panic("install: no partition " + name)
}
