package main

import (
	"context"

	"github.com/spf13/cobra"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
)

// completePools offers the pools of the first node.
func (a *app) completePools(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.fromNode(func(ctx context.Context, conn *connection) ([]string, error) {
		resp, err := listPools(ctx, conn)
		var names []string
		for _, p := range resp.GetPools() {
			names = append(names, p.GetName())
		}
		return names, err
	}), cobra.ShellCompDirectiveNoFileComp
}

// completeDevices offers the pools of the first node, and behind one of them its devices.
func (a *app) completeDevices(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.completePools(cmd, args, typed)
	}
	if len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.fromNode(func(ctx context.Context, conn *connection) ([]string, error) {
		resp, err := listPools(ctx, conn)
		var names []string
		for _, p := range resp.GetPools() {
			if p.GetName() == args[0] {
				names = append(names, leafNames(p.GetVdevs())...)
			}
		}
		return names, err
	}), cobra.ShellCompDirectiveNoFileComp
}

func leafNames(list []*poolv1.Vdev) []string {
	var out []string
	for _, v := range list {
		if len(v.GetChildren()) == 0 {
			out = append(out, v.GetName())
		}
		out = append(out, leafNames(v.GetChildren())...)
	}
	return out
}
