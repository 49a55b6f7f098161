package command

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// The first record of a stream, struct dmu_replay_record with struct drr_begin in it (include/sys/zfs_ioctl.h, OpenZFS 2.3.9): the type and the length of what
// follows in four bytes each; then the magic number, the version with the kind of the header in its lowest two bits, and the time in eight; the kind of dataset
// and flags in four; the GUIDs of the snapshots that it goes to and from in eight; and the name of the first, with a NUL behind it. The record is as long as the
// longest of its kinds, struct drr_checksum. A sender writes it in its own byte order, which the magic number tells (zfs_receive_impl in
// lib/libzfs/libzfs_sendrecv.c).
const (
	headBytes = 312

	headMagicAt, headVersionAt, headKindAt, headFlagsAt, headToAt, headFromAt, headNameAt = 8, 16, 32, 36, 40, 48, 56

	// headMagic is DMU_BACKUP_MAGIC, headBegin DRR_BEGIN.
	headMagic = 0x2F5bacbac
	headBegin = 0
	// headSubstream and headCompound are DMU_SUBSTREAM and DMU_COMPOUNDSTREAM of drr_headertype_t.
	headSubstream, headCompound = 1, 2
	// headClone is DRR_FLAG_CLONE.
	headClone = 1
	// headFilesystem and headVolume are DMU_OST_ZFS and DMU_OST_ZVOL of dmu_objset_type_t (include/sys/fs/zfs.h).
	headFilesystem, headVolume = 2, 3
)

// checkedStream reads the first record of a stream and returns the whole of it, if it is what is wanted. It returns with ctx too, though a Read may then still
// be under way.
func checkedStream(ctx context.Context, want zfs.StreamWanted, stream io.Reader) (io.Reader, error) {
	type answer struct {
		head []byte
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		head := make([]byte, headBytes)
		n, err := io.ReadFull(stream, head)
		read <- answer{head[:n], err}
	}()
	var got answer
	select {
	case got = <-read:
	case <-ctx.Done():
		return nil, fmt.Errorf("read the beginning of the stream: %w", context.Cause(ctx))
	}
	switch {
	case errors.Is(got.err, io.EOF), errors.Is(got.err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%w: it ends after %d bytes, within its first record", zfs.ErrBadStream, len(got.head))
	case got.err != nil:
		return nil, fmt.Errorf("%w: read its first record: %w", zfs.ErrBadStream, got.err)
	}
	head, err := parseStreamHead(got.head)
	if err != nil {
		return nil, err
	}
	if err := want.Check(head); err != nil {
		return nil, err
	}
	if want.Found != nil {
		want.Found(head)
	}
	return io.MultiReader(bytes.NewReader(got.head), stream), nil
}

// parseStreamHead takes the first record of a stream apart, in either byte order. What is none, or has a name that no snapshot can have, is zfs.ErrBadStream.
func parseStreamHead(data []byte) (zfs.StreamHead, error) {
	bad := func(format string, a ...any) (zfs.StreamHead, error) {
		return zfs.StreamHead{}, fmt.Errorf("%w: its first record %s", zfs.ErrBadStream, fmt.Sprintf(format, a...))
	}
	if len(data) != headBytes {
		return bad("has %d bytes, expected %d", len(data), headBytes)
	}
	var order binary.ByteOrder = binary.LittleEndian
	if order.Uint64(data[headMagicAt:]) != headMagic {
		order = binary.BigEndian
	}
	switch {
	case order.Uint64(data[headMagicAt:]) != headMagic:
		return bad("has not the magic number of a stream")
	case order.Uint32(data) != headBegin:
		return bad("is of type %d, expected %d, the beginning", order.Uint32(data), headBegin)
	}
	name, _, ended := bytes.Cut(data[headNameAt:], []byte{0})
	if !ended {
		return bad("has a name without end")
	}
	if _, err := zfs.ParseSnapshot(string(name)); err != nil {
		return bad("has a name that is none of a snapshot, %.80q", name)
	}
	switch kind := order.Uint64(data[headVersionAt:]) & 3; kind {
	case headCompound:
		return zfs.StreamHead{Package: true}, nil
	case headSubstream:
	default:
		return bad("is of a header of kind %d, expected %d or %d", kind, headSubstream, headCompound)
	}
	head := zfs.StreamHead{
		Name: string(name),
		From: zfs.GUID(order.Uint64(data[headFromAt:])), To: zfs.GUID(order.Uint64(data[headToAt:])), Clone: order.Uint32(data[headFlagsAt:])&headClone != 0,
	}
	switch kind := order.Uint32(data[headKindAt:]); kind {
	case headFilesystem:
		head.Kind = zfs.Filesystem
	case headVolume:
		head.Kind = zfs.Volume
	default:
		return bad("is of a dataset of kind %d, expected %d or %d", kind, headFilesystem, headVolume)
	}
	return head, nil
}
