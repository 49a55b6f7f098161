package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

func (a *app) dmesgCommand() *cobra.Command {
	var f tailFlags
	c := &cobra.Command{
		Use:   "dmesg",
		Short: "Show the kernel's log",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return streaming(cmd.Context(), a, func(ctx context.Context, conn *connection) (receiver[*machinev1.StreamDmesgResponse], error) {
				return machinev1.NewMachineServiceClient(conn).StreamDmesg(ctx, &machinev1.StreamDmesgRequest{
					Follow: f.follow, Tail: f.lines(),
				})
			}, dmesgLine)
		},
	}
	f.register(c, "records")
	return c
}

// dmesgLine has the form of dmesg(1).
func dmesgLine(r *machinev1.StreamDmesgResponse) string {
	return fmt.Sprintf("[%12.6f] %s", r.GetSinceBoot().AsDuration().Seconds(), r.GetMessage())
}
