package disk

import (
	"fmt"
	"io"
	"os"

	"github.com/diskfs/go-diskfs/partition/gpt"
)

// Partition types of the UAPI Discoverable Partitions Specification. State
// and data have the type of generic Linux data: the node finds them by name,
// and nothing else is to mount them by type.
const (
	TypeESP             = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	TypeRootAMD64       = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
	TypeRootVerityAMD64 = "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5"
	TypeRootARM64       = "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"
	TypeRootVerityARM64 = "DF3300CE-D69F-4C92-978C-9BFB0F38D820"
	TypeLinux           = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
)

const (
	sectorBytes = 512
	// alignBytes is where partitions start: a multiple of it.
	alignBytes = 1 << 20
)

// Partition is one partition of an image.
type Partition struct {
	Name, Type, UUID string
	// SizeBytes is a multiple of 1 MiB.
	SizeBytes int64
	// Content is copied to the partition's start; nil leaves it blank.
	Content io.Reader
}

// Write makes f a disk image with the partitions in their order.
func Write(f *os.File, uuid string, parts []Partition) error {
	table := &gpt.Table{LogicalSectorSize: sectorBytes, PhysicalSectorSize: sectorBytes, GUID: uuid, ProtectiveMBR: true}
	at := int64(alignBytes)
	for i, p := range parts {
		if p.SizeBytes <= 0 || p.SizeBytes%alignBytes != 0 {
			return fmt.Errorf("lay out partition %s: %d bytes are no multiple of 1 MiB", p.Name, p.SizeBytes)
		}
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: i + 1, Name: p.Name, Type: gpt.Type(p.Type), GUID: p.UUID,
			Start: uint64(at / sectorBytes), End: uint64((at+p.SizeBytes)/sectorBytes - 1), Size: uint64(p.SizeBytes),
		})
		at += p.SizeBytes
	}
	total := at + alignBytes // room for the backup table
	if err := f.Truncate(total); err != nil {
		return fmt.Errorf("size disk image: %w", err)
	}
	if err := table.Write(f, total); err != nil {
		return fmt.Errorf("write partition table: %w", err)
	}
	at = alignBytes
	for _, p := range parts {
		if p.Content != nil {
			n, err := copySparse(f, at, p.Content)
			if err != nil {
				return fmt.Errorf("write partition %s: %w", p.Name, err)
			}
			if n > p.SizeBytes {
				return fmt.Errorf("write partition %s: %d bytes do not fit in %d", p.Name, n, p.SizeBytes)
			}
		}
		at += p.SizeBytes
	}
	return nil
}

// copySparse copies r to f at an offset and leaves holes for blank blocks.
func copySparse(f *os.File, at int64, r io.Reader) (int64, error) {
	buf := make([]byte, 1<<20)
	var done int64
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 && !blank(buf[:n]) {
			if _, err := f.WriteAt(buf[:n], at+done); err != nil {
				return done, err
			}
		}
		done += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
}

func blank(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
