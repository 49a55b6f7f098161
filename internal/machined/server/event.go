package server

import (
	"google.golang.org/grpc"

	eventv1 "github.com/cyvive/cyvive/api/proto/event/v1"
)

// eventService is node.event.v1 on Events.
type eventService struct {
	eventv1.UnimplementedEventServiceServer
	events Events
}

// StreamEvents implements eventv1.EventServiceServer.
func (s *eventService) StreamEvents(req *eventv1.StreamEventsRequest, stream grpc.ServerStreamingServer[eventv1.StreamEventsResponse]) error {
	return s.events.Stream(stream.Context(), options(req.GetFollow(), req.Tail), func(e Event) error {
		return stream.Send(&eventv1.StreamEventsResponse{
			Sequence: e.Sequence, Time: timeToProto(e.Time), Kind: eventKindToProto(e.Kind), Subject: e.Subject, State: e.State, Reason: e.Reason,
		})
	})
}

func eventKindToProto(k EventKind) eventv1.EventKind {
	switch k {
	case EventAgent:
		return eventv1.EventKind_EVENT_KIND_AGENT
	case EventHealth:
		return eventv1.EventKind_EVENT_KIND_HEALTH
	case EventMilestone:
		return eventv1.EventKind_EVENT_KIND_MILESTONE
	case EventService:
		return eventv1.EventKind_EVENT_KIND_SERVICE
	case EventRequest:
		return eventv1.EventKind_EVENT_KIND_REQUEST
	case EventConfiguration:
		return eventv1.EventKind_EVENT_KIND_CONFIGURATION
	default:
		return eventv1.EventKind_EVENT_KIND_UNSPECIFIED
	}
}
