package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	eventv1 "github.com/cyvive/cyvive/api/proto/event/v1"
)

func (a *app) eventsCommand() *cobra.Command {
	var f tailFlags
	c := &cobra.Command{
		Use:     "events",
		Aliases: []string{"event"},
		Short:   "Show what happened on nodes, and why",
		Long:    "Show what happened on nodes, and why: health, milestones of the boot, services, calls that acted on the node. A node remembers 1000 events since its agent was started: what has most of them loses its oldest first.",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return streaming(cmd.Context(), a, streamEvents(f), eventLine)
		},
	}
	f.register(c, "events")
	return c
}

func streamEvents(f tailFlags) func(context.Context, *connection) (receiver[*eventv1.StreamEventsResponse], error) {
	return func(ctx context.Context, conn *connection) (receiver[*eventv1.StreamEventsResponse], error) {
		return eventv1.NewEventServiceClient(conn).StreamEvents(ctx, &eventv1.StreamEventsRequest{Follow: f.follow, Tail: f.lines()})
	}
}

// eventLine is one event as a line.
func eventLine(e *eventv1.StreamEventsResponse) string {
	line := fmt.Sprintf("%s  %-13s  %s: %s", stamp(e.GetTime()), enumName(e.GetKind().String(), "EVENT_KIND_"), e.GetSubject(), e.GetState())
	if e.GetReason() != "" {
		line += " (" + e.GetReason() + ")"
	}
	return line
}
