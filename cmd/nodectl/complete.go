package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// completionTimeout is how long a shell waits for a node.
const completionTimeout = time.Second

// fromNode asks the first node for what could be typed. A node that does not
// answer in a second offers nothing: the shell waits for it.
func (a *app) fromNode(ask func(context.Context, *connection) ([]string, error)) []string {
	t, err := a.target()
	if err != nil || len(t.nodes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionTimeout)
	defer cancel()
	conn, err := t.dial(t.nodes[0])
	if err != nil {
		return nil
	}
	defer conn.Close()
	names, err := ask(ctx, conn)
	if err != nil {
		return nil
	}
	return names
}

// completeServices offers the services of the first node.
func (a *app) completeServices(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.fromNode(func(ctx context.Context, conn *connection) ([]string, error) {
		resp, err := listServices(ctx, conn)
		var names []string
		for _, s := range resp.GetServices() {
			names = append(names, s.GetName())
		}
		return names, err
	}), cobra.ShellCompDirectiveNoFileComp
}

// completeNodes offers the nodes of the context.
func (a *app) completeNodes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	t, err := a.target()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return t.nodes, cobra.ShellCompDirectiveNoFileComp
}
