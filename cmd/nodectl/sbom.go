package main

import (
	"context"

	"github.com/spf13/cobra"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

func (a *app) sbomCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sbom",
		Short: "Write what the image of one node is made of, SPDX 2.3 as JSON",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return writeRaw(cmd.Context(), a, func(ctx context.Context, conn *connection) (receiver[*machinev1.GetSBOMResponse], error) {
				return machinev1.NewMachineServiceClient(conn).GetSBOM(ctx, &machinev1.GetSBOMRequest{})
			})
		},
	}
}
