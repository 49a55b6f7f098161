package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

func (a *app) identityCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "identity",
		Short: "Show by which key nodes are known, who may give them a configuration, and what its secrets are sealed for",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return unary(cmd.Context(), a, getIdentity, columns[*machinev1.GetIdentityResponse]{
				[]string{"STATE", "FINGERPRINT", "OWNER", "OWNER FROM", "NOT FOLLOWED", "CLOCK", "RECIPIENT"},
				func(r *machinev1.GetIdentityResponse) [][]string {
					return [][]string{{
						enumName(r.GetState().String(), "NODE_STATE_"), r.GetFingerprint(), r.GetOwner(), r.GetOwnerSource(),
						strings.Join(r.GetOwnerConflicts(), "; "), stamp(r.GetTime()), r.GetRecipient(),
					}}
				},
			}, nil)
		},
	}
	c.Flags().BoolVar(&a.insecure, "insecure", false, insecureUsage)
	return c
}

func getIdentity(ctx context.Context, conn *connection) (*machinev1.GetIdentityResponse, error) {
	return machinev1.NewMachineServiceClient(conn).GetIdentity(ctx, &machinev1.GetIdentityRequest{})
}
