package peer

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// class is a class of errors on both sides. Again says that trying again may help.
type class struct {
	number replicationv1.Class
	err    error
	again  bool
}

// classes are those that go over the connection. The first that fits says what the status of a call is.
func classes() []class {
	return []class{
		{replicationv1.Class_CLASS_FENCED, replication.ErrFenced, false},
		{replicationv1.Class_CLASS_CHANGED, replication.ErrChanged, false},
		{replicationv1.Class_CLASS_UNSUPPORTED, replication.ErrUnsupported, false},
		{replicationv1.Class_CLASS_PARTIAL, zfs.ErrPartial, true},
		{replicationv1.Class_CLASS_NOT_EXIST, zfs.ErrNotExist, false},
		{replicationv1.Class_CLASS_EXIST, zfs.ErrExist, false},
		{replicationv1.Class_CLASS_BUSY, zfs.ErrBusy, true},
		{replicationv1.Class_CLASS_HELD, zfs.ErrHeld, false},
		{replicationv1.Class_CLASS_HAS_DEPENDENTS, zfs.ErrHasDependents, false},
		{replicationv1.Class_CLASS_INVALID, zfs.ErrInvalid, false},
		{replicationv1.Class_CLASS_NO_SPACE, zfs.ErrNoSpace, true},
		{replicationv1.Class_CLASS_READ_ONLY, zfs.ErrReadOnly, false},
		{replicationv1.Class_CLASS_SUSPENDED, zfs.ErrSuspended, true},
		{replicationv1.Class_CLASS_MODIFIED, zfs.ErrModified, false},
		{replicationv1.Class_CLASS_NO_BASE, zfs.ErrNoBase, false},
		{replicationv1.Class_CLASS_BAD_STREAM, zfs.ErrBadStream, true},
		{replicationv1.Class_CLASS_BAD_TOKEN, zfs.ErrBadToken, true},
	}
}

// maxTextBytes is how much of an error's text goes over: gRPC has it in a header.
const maxTextBytes = 2 << 10

// shortened is a text that is no longer than that.
func shortened(text string) string {
	if text = valid(text); len(text) > maxTextBytes {
		return valid(text[:maxTextBytes]) + "…"
	}
	return text
}

// toStatus gives an error of this machine the form in which it goes to the caller. One that has no class and is of no context stays as it is.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	fault := &replicationv1.Fault{}
	code := codes.OK
	for _, c := range classes() {
		if !errors.Is(err, c.err) {
			continue
		}
		fault.Classes = append(fault.Classes, c.number)
		if code == codes.OK {
			code = codes.FailedPrecondition
			if c.again {
				code = codes.Unavailable
			}
		}
	}
	var conflict *replication.Conflict
	if errors.As(err, &conflict) {
		fault.Conflict, code = ConflictToProto(conflict), codes.FailedPrecondition
	}
	if code == codes.OK {
		return err
	}
	text := shortened(err.Error())
	s, detailErr := status.New(code, text).WithDetails(fault)
	if detailErr != nil {
		return status.Error(code, text)
	}
	return s.Err()
}

// remoteError is an error of the other node.
type remoteError struct {
	text    string
	classes []error
}

// Error implements error.
func (e *remoteError) Error() string { return e.text }

// Unwrap returns the classes, for errors.Is and errors.As.
func (e *remoteError) Unwrap() []error { return e.classes }

// ErrRefused: the other node does not let this one do it, by its configuration.
var ErrRefused = errors.New("refused by the other node")

// fromStatus is the reverse of toStatus, for an error of a call. The end of ctx is that.
func fromStatus(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	e := &remoteError{text: "other node: " + shortened(s.Message())}
	for _, d := range s.Details() {
		fault, ok := d.(*replicationv1.Fault)
		if !ok {
			continue
		}
		for _, c := range classes() {
			for _, number := range fault.GetClasses() {
				if number == c.number {
					e.classes = append(e.classes, c.err)
				}
			}
		}
		if fault.GetConflict() != nil {
			e.classes = append(e.classes, conflictOf(fault.GetConflict()))
		}
	}
	switch s.Code() {
	case codes.Unauthenticated, codes.PermissionDenied:
		e.classes = append(e.classes, ErrRefused)
	case codes.DeadlineExceeded:
		e.classes = append(e.classes, replication.ErrStalled)
	case codes.Unimplemented:
		e.classes = append(e.classes, replication.ErrUnsupported)
		e.text += ": it may be of a release that does not replicate"
	}
	return e
}
