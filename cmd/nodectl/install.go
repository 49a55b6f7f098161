package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	installv1 "github.com/cyvive/cyvive/api/proto/install/v1"
	upgradev1 "github.com/cyvive/cyvive/api/proto/upgrade/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

// installFlags are the flags of an installation.
type installFlags struct {
	disk                   installv1.DiskSelector
	wipe, image, config    string
	dryRun, allowDowngrade bool
}

func (f *installFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringArrayVar(&f.disk.Sizes, "disk-size", nil, `size of the disk, such as ">=100GB"; may be given twice`)
	flags.StringVar(&f.disk.Type, "disk-type", "", "ssd, hdd or nvme")
	flags.StringVar(&f.disk.Model, "disk-model", "", "model of the disk; * and ? stand for others")
	flags.StringVar(&f.disk.Serial, "disk-serial", "", "serial number of the disk; * and ? stand for others")
	flags.StringVar(&f.disk.Wwn, "disk-wwn", "", "WWN of the disk; * and ? stand for others")
	flags.StringVar(&f.disk.Bus, "disk-bus", "", "bus of the disk: nvme, ata, scsi, usb, virtio, xen or mmc")
	flags.StringVar(&f.disk.Path, "disk-path", "", "where the disk is attached, as nodectl inventory has it; * and ? stand for others")
	flags.StringVar(&f.wipe, "wipe", "", "destroy what is on the disk of this serial number or WWN")
	flags.StringVar(&f.image, "image", "", "file of a release to install, *.cyvive, instead of the one that runs")
	flags.BoolVar(&f.allowDowngrade, "allow-downgrade", false, "with --image: take an older release too")
	flags.StringVar(&f.config, "config", "", "file of the configuration for the installed node, - for standard input, instead of the running one's")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only print what would be done")
	_ = c.MarkFlagFilename("image", "cyvive") // fails for unknown flags only
	_ = c.MarkFlagFilename("config", "yaml", "yml")
	_ = c.RegisterFlagCompletionFunc("disk-type", cobra.FixedCompletions([]string{"ssd", "hdd", "nvme"}, cobra.ShellCompDirectiveNoFileComp))
}

// target makes a request of the flags.
func (f *installFlags) target() (*installv1.Target, error) {
	if proto.Size(&f.disk) == 0 {
		return nil, usagef("expected which disk is meant, with at least one of the flags --disk-…")
	}
	if f.allowDowngrade && f.image == "" {
		return nil, usagef("--allow-downgrade is for --image")
	}
	t := &installv1.Target{Disk: &f.disk, Wipe: f.wipe, Pushed: f.image != ""}
	if f.config == "" {
		return t, nil
	}
	document, err := readDocument(f.config)
	switch {
	case err != nil:
		return nil, err
	case document == "":
		return nil, fmt.Errorf("read configuration: %s is empty", f.config)
	case len(document) > maxRequest:
		return nil, fmt.Errorf("read configuration: %d bytes are too many for one call, which takes %d", len(document), maxRequest)
	}
	t.Configuration = []byte(document)
	return t, nil
}

func (a *app) installCommand() *cobra.Command {
	var f installFlags
	c := &cobra.Command{
		Use:   "install --disk-SELECTOR VALUE...",
		Short: "Install a node on another disk of its machine (needs node:admin)",
		Long: "Install a node on another disk of its machine (needs node:admin): the release that it runs, or one that is pushed, and a configuration. " +
			"Exactly one disk has to match the flags --disk-…, and it is never the one that the node runs from. A disk that is not blank is taken " +
			"only when --wipe names it. What was interrupted goes on when it is asked for again.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			what, err := f.target()
			if err != nil {
				return err
			}
			if err := a.oneNode("install"); err != nil {
				return err
			}
			if f.dryRun {
				return a.planInstall(cmd.Context(), &f, what)
			}
			return a.oneByOne(cmd.Context(), func(ctx context.Context, _ *target, node string, conn *connection) error {
				if err := a.pushForInstall(ctx, conn, node, &f); err != nil {
					return err
				}
				return a.installNode(ctx, conn, node, what)
			})
		},
	}
	f.register(c)
	return c
}

// oneNode is for what names things of one node.
func (a *app) oneNode(what string) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	if len(t.nodes) != 1 {
		return usagef("%s is for one node at a time, and %d are named: %s; choose one with --nodes", what, len(t.nodes), strings.Join(t.nodes, ", "))
	}
	return nil
}

// pushForInstall sends a release first, if there is one to send.
func (a *app) pushForInstall(ctx context.Context, conn *connection, node string, f *installFlags) error {
	if f.image == "" {
		return nil
	}
	file, err := os.Open(f.image)
	if err != nil {
		return fmt.Errorf("open release: %w", err)
	}
	defer file.Close()
	// Extensions of this node are not copied to the other disk, whatever release that gets.
	return a.push(ctx, upgradev1.NewUpgradeServiceClient(conn), node, file, upgradeFlags{downgrade: f.allowDowngrade, withoutExtensions: true})
}

// planInstall prints what would be done.
func (a *app) planInstall(ctx context.Context, f *installFlags, what *installv1.Target) error {
	if f.image != "" {
		err := a.oneByOne(ctx, func(ctx context.Context, _ *target, node string, conn *connection) error {
			return a.pushForInstall(ctx, conn, node, f)
		})
		if err != nil {
			return err
		}
	}
	plan := func(ctx context.Context, conn *connection) (*installv1.PlanResponse, error) {
		return installv1.NewInstallServiceClient(conn).Plan(ctx, &installv1.PlanRequest{Target: what})
	}
	if a.format != output.FormatTable {
		return unary(ctx, a, plan, planColumns(), nil)
	}
	return both(ctx, a, plan, planColumns(), columns[*installv1.PlanResponse]{[]string{"STEP", "WHAT"}, stepRows})
}

func planColumns() columns[*installv1.PlanResponse] {
	return columns[*installv1.PlanResponse]{[]string{"DISK", "SIZE", "MODEL", "SERIAL", "WWN", "VERSION", "DESTROYS", "GOES ON BEHIND"}, planRows}
}

func planRows(r *installv1.PlanResponse) [][]string {
	p := r.GetPlan()
	d := p.GetDisk()
	destroys := strings.Join(p.GetDestroys(), ", ")
	if destroys == "" {
		destroys = "nothing"
	}
	return [][]string{{d.GetName(), bytesText(d.GetSizeBytes()), d.GetModel(), d.GetSerial(), d.GetWwn(), p.GetVersion(), destroys, p.GetGoesOnBehind()}}
}

func stepRows(r *installv1.PlanResponse) [][]string {
	if len(r.GetPlan().GetSteps()) == 0 {
		return [][]string{{"", "the disk has all of it"}}
	}
	var rows [][]string
	for _, s := range r.GetPlan().GetSteps() {
		rows = append(rows, []string{s.GetName(), s.GetWhat()})
	}
	return rows
}

// installNode has a node install itself, and shows how far it is.
func (a *app) installNode(ctx context.Context, conn *connection, node string, what *installv1.Target) error {
	ctx, stall := withStall(ctx)
	defer stall.stop()
	stream, err := installv1.NewInstallServiceClient(conn).Install(ctx, &installv1.InstallRequest{Target: what})
	if err != nil {
		return stall.cause(err)
	}
	show := a.progress(node, "written")
	defer show.end()
	var plan *installv1.InstallPlan
	var step string
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return stall.cause(err)
		}
		stall.reset()
		if p := m.GetPlan(); p != nil {
			plan = p
			a.sayPlan(node, p)
		}
		if p := m.GetProgress(); p != nil {
			step = p.GetStep()
			show.at(p.GetWrittenBytes(), p.GetTotalBytes())
		}
	}
	show.end()
	if plan == nil || step != "complete" {
		return fmt.Errorf("the node ended at step %q without a word: ask again, and it goes on", step)
	}
	fmt.Fprintf(a.stderr, "%s: version %s is on %s and starts from it; have the firmware start that disk, or take the other out\n",
		node, plan.GetVersion(), plan.GetDisk().GetName())
	return nil
}

func (a *app) sayPlan(node string, p *installv1.InstallPlan) {
	d := p.GetDisk()
	fmt.Fprintf(a.stderr, "%s: installing version %s on %s (%s, %s, serial number %s)\n",
		node, p.GetVersion(), d.GetName(), bytesText(d.GetSizeBytes()), orDash(d.GetModel()), orDash(d.GetSerial()))
	if len(p.GetDestroys()) > 0 {
		fmt.Fprintf(a.stderr, "%s: this destroys: %s\n", node, strings.Join(p.GetDestroys(), ", "))
	}
	if behind := p.GetGoesOnBehind(); behind != "" {
		fmt.Fprintf(a.stderr, "%s: it was begun before, and goes on behind step %s\n", node, behind)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
