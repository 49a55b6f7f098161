package zfs

import "fmt"

// StreamHead is what a stream says of itself in its first record (struct drr_begin of include/sys/zfs_ioctl.h, OpenZFS 2.3.9).
type StreamHead struct {
	// Name is that of the snapshot on the sender, whole. What is received has what stands behind the '@'.
	Name string
	// Kind is Filesystem or Volume.
	Kind Kind
	// From is zero in a full stream.
	From, To GUID
	// Clone says that From is of another dataset, of which the received one becomes a clone.
	Clone bool
	// Package says that there are other streams within, for as many datasets as they like, and a list of what there is beside them; the rest is then not set.
	// zfs send makes one with -R, -p and -h. To receive one can rename, promote and, with -F, destroy what is below the destination, and not only receive
	// (recv_incremental_replication in lib/libzfs/libzfs_sendrecv.c).
	Package bool
}

// StreamWanted is what a stream has to be.
type StreamWanted struct {
	Kind     Kind
	From, To GUID
	// Package lets a package through too, in which nothing more is looked at: for senders that are trusted with all that is below the destination.
	Package bool
	// Found is told of a stream that is what it has to be, before anything of it is received; nil is not.
	Found func(StreamHead)
}

// Check says in what a stream is another than the one that was asked for. The error is [ErrInvalid]: to send the same once more would not help.
func (w StreamWanted) Check(h StreamHead) error {
	switch {
	case h.Package && !w.Package:
		return fmt.Errorf("stream %w: it is a package of streams, expected one of one snapshot", ErrInvalid)
	case h.Package:
		return nil
	case h.Clone:
		return fmt.Errorf("stream %w: it makes a clone of a snapshot of another dataset, expected one that goes on from one of its own", ErrInvalid)
	case h.To != w.To || h.From != w.From:
		return fmt.Errorf("stream %w: it is of the snapshot %s from %s, expected %s from %s", ErrInvalid, h.To, h.From, w.To, w.From)
	case h.Kind != w.Kind:
		return fmt.Errorf("stream %w: it is of a %s, expected a %s", ErrInvalid, h.Kind, w.Kind)
	}
	return nil
}
