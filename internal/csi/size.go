package csi

import (
	"fmt"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

const (
	mib = int64(1) << 20
	// defaultBytes is the size of a volume for which none is asked.
	defaultBytes = 1 << 30
	// leastBytes is that of the smallest dataset and device.
	leastBytes = mib
	// leastExt4 has room for a journal, which mke2fs leaves out below 2048 blocks of 4 KiB (ext2fs_default_journal_size in e2fsprogs 1.47).
	leastExt4 = 16 * mib
	// leastXFS is what mkfs.xfs makes at least (xfsprogs 5.19: 300 MB).
	leastXFS = 300 * mib
)

// sizes is a range of sizes in bytes; most is 0 where there is no limit, and least where none is asked for. Both are multiples of what a volume has
// to be one of.
type sizes struct{ least, most, step int64 }

// sizesOf reads a range. Its least is at least what such a volume has to have.
func sizesOf(r *spec.CapacityRange, step, least int64) (sizes, error) {
	s := sizes{least: r.GetRequiredBytes(), most: r.GetLimitBytes()}
	switch {
	case s.least < 0 || s.most < 0:
		return s, refuse("capacity: %d to %d bytes is negative", s.least, s.most)
	case s.least > 1<<60 || s.most > 0 && s.least > s.most:
		return s, outOfRange("capacity: no volume has from %d to %d bytes", s.least, s.most)
	case s.most > 0 && s.most < least:
		return s, outOfRange("capacity: at most %d bytes, and such a volume has %d at least", s.most, least)
	}
	if s.least > 0 {
		s.least = max(s.least, least)
	}
	return s.stepped(step)
}

// stepped makes both ends multiples of a step.
func (s sizes) stepped(step int64) (sizes, error) {
	most := s.most
	s.step, s.least, s.most = step, roundUp(s.least, step), most-most%step
	if most > 0 && s.most < max(s.least, 1) {
		return s, outOfRange("capacity: at most %d bytes, and such a volume has a multiple of %d, and %d at least", most, step, max(s.least, step))
	}
	return s, nil
}

func outOfRange(format string, a ...any) error { return status.Errorf(codes.OutOfRange, format, a...) }

func roundUp(n, step int64) int64 { return (n + step - 1) / step * step }

// fit says whether a volume of this size is one that was asked for.
func (s sizes) fit(bytes int64) bool { return bytes >= s.least && (s.most == 0 || bytes <= s.most) }

// choose is the size of a new volume: what is asked for, or else the usual, if the limit lets it.
func (s sizes) choose(usual int64) int64 {
	switch {
	case s.least > 0:
		return s.least
	case s.most > 0:
		return min(s.most, roundUp(usual, s.step))
	}
	return roundUp(usual, s.step)
}

// String is for a person.
func (s sizes) String() string {
	if s.most == 0 {
		return fmt.Sprintf("%d or more", s.least)
	}
	return fmt.Sprintf("%d to %d", s.least, s.most)
}

// defaultBlock is ZVOL_DEFAULT_BLOCKSIZE of OpenZFS 2.3.
const defaultBlock = 16 << 10

// granularity is what the size of a new volume is a multiple of.
func (w wish) granularity() int64 { return stepOf(w.kind, w.properties["volblocksize"]) }

// stepOf is that of a kind: blocks of a device, and at least the usual ones, so that sizes of most devices fit each other.
func stepOf(kind zfs.Kind, blocks string) int64 {
	if kind == zfs.Filesystem {
		return 1
	}
	return max(number(blocks), defaultBlock)
}

func (w wish) least() int64 { return leastOf(w.fileSystem) }

func leastOf(fileSystem string) int64 {
	switch fileSystem {
	case ext4:
		return leastExt4
	case xfs:
		return leastXFS
	}
	return leastBytes
}
