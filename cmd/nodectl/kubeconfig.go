package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	kubev1 "github.com/cyvive/cyvive/api/proto/kube/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/kubeconfig"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
	"github.com/cyvive/cyvive/cmd/nodectl/secretfile"
)

func (a *app) kubeconfigCommand() *cobra.Command {
	var merge bool
	var out string
	c := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Get an administrator's access to the Kubernetes cluster",
		Long: "Get an administrator's access to the Kubernetes cluster, from the first node that gives it.\n" +
			"Without a flag it goes to standard output. It holds a private key.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if merge && out != "" {
				return usagef("--merge and --out exclude each other")
			}
			resp, err := a.getKubeconfig(cmd.Context())
			if err != nil {
				return err
			}
			switch {
			case merge:
				return a.mergeKubeconfig(resp)
			case out != "":
				return secretfile.Write(out, []byte(resp.GetKubeconfig()))
			case a.format != output.FormatTable:
				return output.WriteAll(a.stdout, a.format, []output.Answer{{Message: resp}}, false)
			}
			if _, err := a.stdout.Write([]byte(resp.GetKubeconfig())); err != nil {
				return fmt.Errorf("write output: %w", err)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&merge, "merge", false, "take it into $KUBECONFIG or ~/.kube/config and make it the current context")
	c.Flags().StringVar(&out, "out", "", "write it to this file")
	c.AddCommand(a.kubeconfigRemoveCommand())
	return c
}

// getKubeconfig asks one node after the other.
func (a *app) getKubeconfig(ctx context.Context) (*kubev1.GetKubeconfigResponse, error) {
	t, err := a.target()
	if err != nil {
		return nil, err
	}
	var failures []failure
	for _, node := range t.nodes {
		one := &target{context: t.context, nodes: []string{node}, tls: t.tls}
		r := each(ctx, one, func(ctx context.Context, _ string, conn *connection) (*kubev1.GetKubeconfigResponse, error) {
			ctx, cancel := context.WithTimeout(ctx, a.timeout)
			defer cancel()
			return kubev1.NewKubeServiceClient(conn).GetKubeconfig(ctx, &kubev1.GetKubeconfigRequest{})
		})[0]
		if r.err == nil {
			return r.resp, nil
		}
		failures = append(failures, failure{node, r.err})
	}
	return nil, a.report(failures)
}

func (a *app) mergeKubeconfig(resp *kubev1.GetKubeconfigResponse) error {
	path, existing, err := a.readKubeconfig()
	if err != nil {
		return err
	}
	merged, err := kubeconfig.Merge(existing, []byte(resp.GetKubeconfig()))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := secretfile.Write(path, merged); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "%s: context %q is now the current one\n", path, resp.GetClusterName())
	return nil
}

// readKubeconfig reads the file that kubectl uses; there need not be one.
func (a *app) readKubeconfig() (path string, text []byte, err error) {
	if path, err = kubeconfig.Path(a.getenv); err != nil {
		return "", nil, err
	}
	text, err = os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	return path, text, nil
}

func (a *app) kubeconfigRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Take a cluster out of $KUBECONFIG or ~/.kube/config",
		Args:  oneArg("the name of the cluster"),
		RunE: func(_ *cobra.Command, args []string) error {
			path, existing, err := a.readKubeconfig()
			if err != nil {
				return err
			}
			rest, err := kubeconfig.Remove(existing, args[0])
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			return secretfile.Write(path, rest)
		},
	}
}
