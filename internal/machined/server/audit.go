package server

import (
	"bytes"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	auditv1 "github.com/cyvive/cyvive/api/proto/audit/v1"
	"github.com/cyvive/cyvive/internal/audit"
)

// auditService is node.audit.v1 on Audit.
type auditService struct {
	auditv1.UnimplementedAuditServiceServer
	log      Audit
	recorder *recorder
}

// StreamEntries implements auditv1.AuditServiceServer.
func (s *auditService) StreamEntries(req *auditv1.StreamEntriesRequest, stream grpc.ServerStreamingServer[auditv1.StreamEntriesResponse]) error {
	s.recorder.flushRepeats()
	s.recorder.flush()
	filter := req.GetSubject() != "" || req.GetMethod() != "" || req.GetCode() != "" || req.GetSince() != nil
	return s.log.Read(stream.Context(), func(line []byte) error {
		e, _, err := audit.ParseLine(line)
		// A line that cannot be read fits no filter, and must not be missed by who verifies.
		if filter && (err != nil || !fits(e, req)) {
			return nil
		}
		resp := &auditv1.StreamEntriesResponse{}
		if err == nil {
			resp = entryToProto(e)
		}
		resp.Line = bytes.Clone(line)
		return stream.Send(resp)
	})
}

// fits tells whether an entry fits every filter that is set.
func fits(e audit.Entry, f *auditv1.StreamEntriesRequest) bool {
	var since time.Time
	if f.GetSince() != nil {
		since = f.GetSince().AsTime()
	}
	return (f.GetSubject() == "" || e.Subject == f.GetSubject()) &&
		strings.Contains(e.Method, f.GetMethod()) &&
		(f.GetCode() == "" || strings.EqualFold(e.Code, f.GetCode())) &&
		!e.Time.Before(since)
}

func entryToProto(e audit.Entry) *auditv1.StreamEntriesResponse {
	return &auditv1.StreamEntriesResponse{
		Sequence: e.Sequence,
		Kind:     entryKindToProto(e.Kind),
		Time:     timeToProto(e.Time),
		BootId:   e.Boot,
		Subject:  e.Subject,
		Serial:   e.Serial,
		Roles:    e.Roles,
		Peer:     e.Peer,
		Method:   e.Method,
		Code:     e.Code,
		Took:     durationpb.New(e.Took),
		Error:    e.Error,
		Count:    e.Count,
	}
}

func entryKindToProto(k audit.Kind) auditv1.EntryKind {
	switch k {
	case audit.KindBegin:
		return auditv1.EntryKind_ENTRY_KIND_BEGIN
	case audit.KindCall:
		return auditv1.EntryKind_ENTRY_KIND_CALL
	case audit.KindHandshake:
		return auditv1.EntryKind_ENTRY_KIND_HANDSHAKE
	case audit.KindSuppressed:
		return auditv1.EntryKind_ENTRY_KIND_SUPPRESSED
	case audit.KindLost:
		return auditv1.EntryKind_ENTRY_KIND_LOST
	case audit.KindResumed:
		return auditv1.EntryKind_ENTRY_KIND_RESUMED
	default:
		return auditv1.EntryKind_ENTRY_KIND_UNSPECIFIED
	}
}
