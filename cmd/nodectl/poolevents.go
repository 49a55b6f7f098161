package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
)

func (a *app) poolEventsCommand() *cobra.Command {
	var f tailFlags
	var after string
	c := &cobra.Command{
		Use:   "events",
		Short: "Show what the kernel reports of nodes' pools",
		Long: "Show what the kernel reports of nodes' pools: errors, devices that come and go, scrubs, resilvers. Each line begins with TIME#NUMBER, which --after takes\n" +
			"to go on behind it.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req, err := poolEventsRequest(f, after)
			if err != nil {
				return err
			}
			return streaming(cmd.Context(), a, func(ctx context.Context, conn *connection) (receiver[*poolv1.StreamEventsResponse], error) {
				return poolv1.NewPoolServiceClient(conn).StreamEvents(ctx, req)
			}, poolEventLine)
		},
	}
	f.register(c, "events")
	c.Flags().StringVar(&after, "after", "", "begin behind the event that is TIME#NUMBER")
	return c
}

func poolEventsRequest(f tailFlags, after string) (*poolv1.StreamEventsRequest, error) {
	req := &poolv1.StreamEventsRequest{Follow: f.follow, Tail: f.lines()}
	if after == "" {
		return req, nil
	}
	moment, number, _ := strings.Cut(after, "#")
	at, err := time.Parse(time.RFC3339Nano, moment)
	id, wrong := strconv.ParseUint(number, 10, 64)
	if err != nil || wrong != nil || id == 0 {
		return nil, usagef("--after %q: expected TIME#NUMBER as a line of this command begins, such as 2026-11-26T04:00:00.123456789Z#17", after)
	}
	req.AfterId, req.AfterTime = id, timestamppb.New(at)
	return req, nil
}

// poolEventLine is one event as a line.
func poolEventLine(e *poolv1.StreamEventsResponse) string {
	if e.GetLost() > 0 {
		return "-  " + e.GetText()
	}
	line := fmt.Sprintf("%s#%d", e.GetTime().AsTime().UTC().Format(time.RFC3339Nano), e.GetId())
	if e.GetPool() != "" {
		line += "  " + e.GetPool()
	}
	return fmt.Sprintf("%s: %s (%s)", line, e.GetText(), e.GetClass())
}
