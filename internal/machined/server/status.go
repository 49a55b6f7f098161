package server

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Domain is the domain of the ErrorInfo detail (google.rpc.ErrorInfo) that
// every refused call carries.
const Domain = "node.cyvive.dev"

// Reason tells refusals apart for programs, as ErrorInfo's reason.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	ReasonNoCertificate    Reason = "NO_CERTIFICATE"
	ReasonUnknownAuthority Reason = "UNKNOWN_AUTHORITY"
	ReasonExpired          Reason = "CERTIFICATE_EXPIRED"
	ReasonNotYetValid      Reason = "CERTIFICATE_NOT_YET_VALID"
	ReasonWrongUsage       Reason = "CERTIFICATE_WRONG_USAGE"
	ReasonBadCertificate   Reason = "CERTIFICATE_INVALID"
	ReasonNoRole           Reason = "NO_ROLE"
	ReasonUnknownRole      Reason = "UNKNOWN_ROLE"
	ReasonWrongRole        Reason = "WRONG_ROLE"
	ReasonClosed           Reason = "CLOSED"
	ReasonOwnerOnly        Reason = "OWNER_ONLY"
	ReasonOtherOwner       Reason = "OTHER_OWNER"
	ReasonMaintenance      Reason = "MAINTENANCE"
	ReasonConfigured       Reason = "CONFIGURED"
	ReasonAuthorityChanged Reason = "AUTHORITY_CHANGED"
	ReasonNoSuchMethod     Reason = "NO_SUCH_METHOD"
	ReasonNotPeer          Reason = "NOT_A_PEER"
)

// ReasonNotReady is that of UNAVAILABLE where the node itself answers so, and not a
// connection that failed, which has the same code in gRPC.
const ReasonNotReady Reason = "NOT_READY"

// code is the gRPC status of a refusal.
func (r Reason) code() codes.Code {
	switch r {
	case ReasonNoRole, ReasonUnknownRole, ReasonWrongRole, ReasonNotPeer:
		return codes.PermissionDenied
	case ReasonMaintenance:
		return codes.FailedPrecondition
	case ReasonClosed, ReasonConfigured, ReasonAuthorityChanged:
		return codes.Unavailable
	case ReasonNoSuchMethod:
		return codes.Unimplemented
	default:
		return codes.Unauthenticated
	}
}

// refusal is a call that was refused before its handler.
type refusal struct {
	reason  Reason
	message string
	// metadata is for programs, as ErrorInfo's metadata.
	metadata map[string]string
}

func refuse(reason Reason, message string) *refusal {
	return &refusal{reason: reason, message: message}
}

// Error implements error.
func (r *refusal) Error() string { return r.message }

// GRPCStatus makes the refusal a gRPC status with its reason as a detail.
func (r *refusal) GRPCStatus() *status.Status {
	return detailed(status.New(r.reason.code(), r.message), &errdetails.ErrorInfo{Reason: string(r.reason), Metadata: r.metadata})
}

func detailed(s *status.Status, info *errdetails.ErrorInfo) *status.Status {
	info.Domain = Domain
	with, err := s.WithDetails(info)
	if err != nil {
		return s
	}
	return with
}

// toStatus turns what a handler returned into an error with a gRPC status: the
// one place where classes of errors and codes meet.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	s := status.New(codeOf(err), err.Error())
	if s.Code() == codes.Unavailable {
		s = detailed(s, &errdetails.ErrorInfo{Reason: string(ReasonNotReady)})
	}
	return s.Err()
}

func codeOf(err error) codes.Code {
	switch {
	case errors.Is(err, ErrNotFound):
		return codes.NotFound
	case errors.Is(err, ErrInvalid):
		return codes.InvalidArgument
	case errors.Is(err, ErrPrecondition):
		return codes.FailedPrecondition
	case errors.Is(err, ErrDenied):
		return codes.PermissionDenied
	case errors.Is(err, ErrUnavailable):
		return codes.Unavailable
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	default:
		return codes.Internal
	}
}

// invalidf makes an ErrInvalid with a message for a person.
func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
