package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
	"github.com/cyvive/cyvive/internal/machined/config"
)

func (a *app) poolCommand() *cobra.Command {
	return group("pool", "Look after nodes' ZFS pools",
		a.poolListCommand(), a.poolStatusCommand(), a.poolImportableCommand(), a.poolCacheCommand(), a.poolPlanCommand(), a.poolConfirmCommand(),
		a.poolScrubCommand(), a.poolTrimCommand(), a.poolClearCommand(), a.poolOnlineCommand(), a.poolOfflineCommand(), a.poolEventsCommand())
}

func listPools(ctx context.Context, conn *connection) (*poolv1.ListResponse, error) {
	return poolv1.NewPoolServiceClient(conn).List(ctx, &poolv1.ListRequest{})
}

func (a *app) poolListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List nodes' pools", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return unary(cmd.Context(), a, listPools, columns[*poolv1.ListResponse]{
				[]string{"POOL", "STATE", "SIZE", "USED", "FREE", "FULL", "DECLARED", "HOW"}, poolRows,
			}, nil)
		},
	}
}

func poolRows(l *poolv1.ListResponse) [][]string {
	var rows [][]string
	for _, p := range l.GetPools() {
		row := []string{p.GetName(), "not imported", "", "", "", "", yes(p.GetDeclared()), p.GetSummary()}
		if p.GetName() == config.SystemPool {
			row[6] = "system"
		}
		if p.GetImported() {
			row[1], row[2], row[3], row[4] = poolState(p.GetState()), bytesText(p.GetSizeBytes()), bytesText(p.GetAllocatedBytes()), bytesText(p.GetFreeBytes())
			if p.CapacityPercent != nil {
				row[5] = fmt.Sprintf("%d%%", p.GetCapacityPercent())
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func poolState(s poolv1.State) string { return enumName(s.String(), "STATE_") }

func listImportable(ctx context.Context, conn *connection) (*poolv1.ListImportableResponse, error) {
	return poolv1.NewPoolServiceClient(conn).ListImportable(ctx, &poolv1.ListImportableRequest{})
}

func (a *app) poolImportableCommand() *cobra.Command {
	return &cobra.Command{
		Use: "importable", Short: "List the pools that are on nodes' disks and not imported", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return unary(cmd.Context(), a, listImportable, columns[*poolv1.ListImportableResponse]{[]string{"POOL", "GUID", "STATE", "DECLARED", "IN-THE-WAY", "MISSING", "SAYS"}, importableRows}, nil)
		},
	}
}

func importableRows(l *poolv1.ListImportableResponse) [][]string {
	var rows [][]string
	for _, p := range l.GetPools() {
		problem := p.GetProblem()
		if p.GetDestroyed() {
			problem = strings.TrimPrefix(problem+"; it was destroyed", "; ")
		}
		if f := p.GetUnknownFeatures(); len(f) > 0 {
			problem += ": " + strings.Join(f, ", ")
		}
		rows = append(rows, []string{
			p.GetName(), fmt.Sprint(p.GetGuid()), poolState(p.GetState()), yes(p.GetDeclared()), problem, strings.Join(p.GetMissing(), ", "), p.GetMessage(),
		})
	}
	return rows
}

func getCache(ctx context.Context, conn *connection) (*poolv1.GetCacheResponse, error) {
	return poolv1.NewPoolServiceClient(conn).GetCache(ctx, &poolv1.GetCacheRequest{})
}

func (a *app) poolCacheCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cache", Short: "Show how much memory nodes' pools use to keep what was read", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return unary(cmd.Context(), a, getCache, columns[*poolv1.GetCacheResponse]{[]string{"SIZE", "AIM", "LIMIT", "CAN-GO", "SERVED", "THROTTLED", "ON-DEVICES"}, cacheRows}, nil)
		},
	}
}

func cacheRows(c *poolv1.GetCacheResponse) [][]string {
	served := ""
	if all := c.GetHits() + c.GetMisses(); all > 0 {
		served = fmt.Sprintf("%.1f%%", 100*float64(c.GetHits())/float64(all))
	}
	return [][]string{{
		bytesText(c.GetSizeBytes()), bytesText(c.GetTargetBytes()), bytesText(c.GetMaxBytes()), bytesText(c.GetEvictableBytes()), served,
		fmt.Sprint(c.GetThrottled()), bytesText(c.GetDeviceBytes()),
	}}
}

func planPools(ctx context.Context, conn *connection) (*poolv1.PlanResponse, error) {
	return poolv1.NewPoolServiceClient(conn).Plan(ctx, &poolv1.PlanRequest{})
}

func (a *app) poolPlanCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "plan",
		Short: "Show what nodes would do to their pools now, and what a person has to decide",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			operations := columns[*poolv1.PlanResponse]{[]string{"POOL", "OPERATION", "CONFIRMATION"}, poolPlanRows}
			if a.format != output.FormatTable {
				return unary(cmd.Context(), a, planPools, operations, nil)
			}
			return both(cmd.Context(), a, planPools, operations,
				columns[*poolv1.PlanResponse]{[]string{"POOL", "TO-DECIDE", "FOUND", "NEXT"}, conditionRows})
		},
	}
}

func poolPlanRows(p *poolv1.PlanResponse) [][]string {
	var rows [][]string
	for _, o := range p.GetOperations() {
		state := "not needed"
		switch {
		case o.GetWaiting():
			state = "waited for"
		case o.GetNeeds() != "":
			state = "given"
		}
		rows = append(rows, []string{o.GetPool(), o.GetText(), state})
	}
	return rows
}

func conditionRows(p *poolv1.PlanResponse) [][]string {
	var rows [][]string
	for _, c := range p.GetConditions() {
		rows = append(rows, []string{c.GetPool(), c.GetKind(), strings.ReplaceAll(c.GetText(), "\n", " "), c.GetNext()})
	}
	return rows
}
