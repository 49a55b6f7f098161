package zfstest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Contents writes files into datasets and tells what is in them; zfs.System does neither. [Model] implements it, and tests in virtual machines by
// mounting.
type Contents interface {
	// Write writes a file into a file system and waits until it is on the disk. One that is read-only is zfs.ErrReadOnly.
	Write(ctx context.Context, dataset, file string, data []byte) error
	// Sum is a checksum of the files of a file system or snapshot, the same for the same files on any machine.
	Sum(ctx context.Context, name string) (string, error)
}

// Target is a system under test.
type Target struct {
	zfs.System
	Contents
	// Root is a file system below which tests make and destroy what they like. It exists and is empty.
	Root string
	// Key is the keylocation of a raw key of 32 bytes, such as file:///tmp/key.
	Key string
}

// Name is a dataset's name below the root.
func (t Target) Name(format string, a ...any) string { return t.Root + "/" + fmt.Sprintf(format, a...) }

// Conformance tests what a zfs.System is relied on for: all parts, or those of the names that are given. Each part has a file system of its own below the root.
func Conformance(t *testing.T, target Target, only ...string) {
	ran := 0
	for _, part := range []struct {
		name string
		run  func(*testing.T, bench)
	}{
		{"names", testNames}, {"list", testList}, {"properties", testProperties}, {"userProperties", testUserProperties},
		{"snapshots", testSnapshots}, {"snapshotsAtOnce", testSnapshotsAtOnce}, {"destroy", testDestroy}, {"holds", testHolds},
		{"bookmarks", testBookmarks}, {"rollback", testRollback}, {"rename", testRename}, {"clones", testClones}, {"volumes", testVolumes}, {"resize", testResize},
		{"send", testSend}, {"sendFromBookmark", testSendFromBookmark}, {"receiveRefused", testReceiveRefused}, {"receiveModified", testReceiveModified},
		{"receiveTwice", testReceiveTwice}, {"receiveForce", testReceiveForce}, {"receiveProperties", testReceiveProperties},
		{"receiveWanted", testReceiveWanted},
		{"damagedStream", testDamagedStream}, {"resumeFull", testResumeFull}, {"resumeIncremental", testResumeIncremental},
		{"resumeRefused", testResumeRefused}, {"abort", testAbort}, {"resumeAfterRename", testResumeAfterRename}, {"encryption", testEncryption},
		{"contextEnds", testContextEnds},
	} {
		if len(only) > 0 && !slices.Contains(only, part.name) {
			continue
		}
		ran++
		t.Run(part.name, func(t *testing.T) {
			b := bench{Target: target, t: t, ctx: t.Context()}
			b.Root = target.Name("%s", part.name)
			b.must(b.Create(b.ctx, b.Root, zfs.CreateOptions{Properties: map[string]string{"mountpoint": "none"}}))
			part.run(t, b)
		})
	}
	if len(only) > 0 && ran != len(only) {
		t.Errorf("%d parts have one of the names %q, want one each", ran, only)
	}
}
