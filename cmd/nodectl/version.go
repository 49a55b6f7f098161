package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

const insecureUsage = "ask a node that has neither configuration nor owner: do not verify it, show no certificate"

func (a *app) versionCommand() *cobra.Command {
	var components bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Show what software nodes run, with its source (--version is nodectl's own)",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			only := columns[*machinev1.GetVersionResponse]{[]string{"COMPONENT", "VERSION", "SOURCE"}, componentRows}
			if components || a.format != output.FormatTable {
				return unary(cmd.Context(), a, getVersion, only, nil)
			}
			return both(cmd.Context(), a, getVersion, columns[*machinev1.GetVersionResponse]{
				[]string{"VERSION", "KERNEL", "ARCH", "SLOT", "ROOT HASH", "MODE"}, versionRows,
			}, only)
		},
	}
	c.Flags().BoolVar(&a.insecure, "insecure", false, insecureUsage)
	c.Flags().BoolVar(&components, "components", false, "list the programs on the image only")
	return c
}

func getVersion(ctx context.Context, conn *connection) (*machinev1.GetVersionResponse, error) {
	return machinev1.NewMachineServiceClient(conn).GetVersion(ctx, &machinev1.GetVersionRequest{})
}

func versionRows(v *machinev1.GetVersionResponse) [][]string {
	mode := "configured"
	if v.GetMaintenance() {
		mode = "maintenance"
	}
	hash := v.GetRootHash()
	return [][]string{{
		v.GetVersion(), v.GetKernelRelease(), v.GetArchitecture(),
		enumName(v.GetSlot().String(), "SLOT_"), hash[:min(len(hash), 12)], mode,
	}}
}

func componentRows(v *machinev1.GetVersionResponse) [][]string {
	var rows [][]string
	for _, c := range v.GetComponents() {
		rows = append(rows, []string{c.GetName(), c.GetVersion(), c.GetSource()})
	}
	return rows
}

// enumName makes "SERVICE_STATE_RUNNING" "running"; the zero value is empty.
func enumName(name, prefix string) string {
	name = strings.ToLower(strings.TrimPrefix(name, prefix))
	if name == "unspecified" {
		return ""
	}
	return strings.ReplaceAll(name, "_", "-")
}

// number writes a count, and nothing for one that does not apply.
func number(n uint32, applies bool) string {
	if !applies {
		return ""
	}
	return strconv.FormatUint(uint64(n), 10)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// unhealthy is the error for a node that answers and is not well.
func unhealthy(reason string) error { return fmt.Errorf("not healthy: %s", reason) }
