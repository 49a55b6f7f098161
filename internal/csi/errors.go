package csi

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// classes gives each class of error the code that CSI has for it. Where a call has another meaning for one, it says so before it comes here.
var classes = []struct {
	class error
	code  codes.Code
}{
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{zfs.ErrSuspended, codes.Unavailable},
	{zfs.ErrNoSpace, codes.ResourceExhausted},
	{zfs.ErrBusy, codes.FailedPrecondition},
	{zfs.ErrHeld, codes.FailedPrecondition},
	{zfs.ErrHasDependents, codes.FailedPrecondition},
	{zfs.ErrReadOnly, codes.FailedPrecondition},
	{zfs.ErrExist, codes.AlreadyExists},
	{zfs.ErrNotExist, codes.NotFound},
	{zfs.ErrInvalid, codes.InvalidArgument},
}

// failure makes an answer of an error. One that has a code already keeps it.
func failure(err error, format string, a ...any) error {
	if err == nil {
		return nil
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	code := codes.Internal
	for _, c := range classes {
		if errors.Is(err, c.class) {
			code = c.code
			break
		}
	}
	return status.Errorf(code, "%s: %v", fmt.Sprintf(format, a...), err)
}

// refuse is a request that has to be changed.
func refuse(format string, a ...any) error { return status.Errorf(codes.InvalidArgument, format, a...) }

func notFound(format string, a ...any) error { return status.Errorf(codes.NotFound, format, a...) }

// precondition is a request that would be fine at another time.
func precondition(format string, a ...any) error {
	return status.Errorf(codes.FailedPrecondition, format, a...)
}

func exists(format string, a ...any) error { return status.Errorf(codes.AlreadyExists, format, a...) }
