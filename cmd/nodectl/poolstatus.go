package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
	"github.com/cyvive/cyvive/internal/machined/config"
)

func (a *app) poolStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status [POOL]",
		Short: "Show how nodes' pools are, with their disks, and what to do next",
		Long: "Show how nodes' pools are, with their disks, and what to do next. What waits for a confirmation is shown with the whole text that the\n" +
			"confirmation repeats (`nodectl pool confirm`).",
		Args:              atMostOneArg("the name of a pool, see `nodectl pool list`"),
		ValidArgsFunction: a.completePools,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.poolStatus(cmd.Context(), strings.Join(args, ""))
		},
	}
}

// poolStatus writes the pools of all nodes, or the one of a name. A node that has none of the name counts as failed.
func (a *app) poolStatus(ctx context.Context, name string) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	results := each(ctx, t, func(ctx context.Context, _ string, conn *connection) (*poolv1.ListResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		l, err := listPools(ctx, conn)
		if err != nil || name == "" {
			return l, err
		}
		if l.Pools = slices.DeleteFunc(l.Pools, func(p *poolv1.Pool) bool { return p.GetName() != name }); len(l.Pools) == 0 {
			return nil, fmt.Errorf("it has no pool %q; see nodectl pool list", name)
		}
		return l, nil
	})
	if a.format != output.FormatTable {
		if err := writeResults(a, results, columns[*poolv1.ListResponse]{}); err != nil {
			return err
		}
		return a.report(errorsOf(results))
	}
	var text strings.Builder
	for _, r := range results {
		if r.err != nil {
			continue
		}
		if len(results) > 1 {
			fmt.Fprintf(&text, "node %s\n\n", r.node)
		}
		writePools(&text, r.resp)
	}
	if _, err := io.WriteString(a.stdout, output.CleanText(text.String())); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return a.report(errorsOf(results))
}

// writePools writes the pools of one node for a person.
func writePools(w *strings.Builder, l *poolv1.ListResponse) {
	if len(l.GetPools()) == 0 {
		w.WriteString("The node has no pools.\n")
	}
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-10s %s\n", name+":", strings.ReplaceAll(value, "\n", "\n           "))
		}
	}
	for i, p := range l.GetPools() {
		if i > 0 {
			w.WriteString("\n")
		}
		line("pool", poolTitle(p))
		line("state", poolRows(&poolv1.ListResponse{Pools: []*poolv1.Pool{p}})[0][1])
		line("how", p.GetSummary())
		line("next", p.GetNext())
		line("size", poolSize(p))
		line("scan", scanText(p.GetScan()))
		line("expansion", workText(p.GetExpansion()))
		line("removal", workText(p.GetRemoval()))
		line("lost", strings.Join(p.GetDamagedFiles(), "\n"))
		line("marked", strings.Join(markTexts(p.GetVdevs()), "\n"))
		for _, c := range p.GetConditions() {
			line("decide", c.GetKind()+": "+c.GetText()+"\n"+c.GetNext())
		}
		for _, o := range p.GetWaiting() {
			line("waits", o.GetText())
		}
		if p.GetPicture() != "" {
			w.WriteString("\n" + p.GetPicture())
		}
	}
	if l.GetDoing() != "" || l.GetProblem() != "" {
		w.WriteString("\n")
	}
	line("doing", l.GetDoing())
	line("problem", l.GetProblem())
}

// markTexts are the devices that answer and are not to be trusted, each with the reason.
func markTexts(vdevs []*poolv1.Vdev) []string {
	var out []string
	for _, v := range vdevs {
		if v.GetMark() != "" {
			out = append(out, v.GetName()+": "+v.GetMark())
		}
		out = append(out, markTexts(v.GetChildren())...)
	}
	return out
}

func poolTitle(p *poolv1.Pool) string {
	text := p.GetName()
	if p.GetGuid() != 0 {
		text += fmt.Sprintf(" (%d)", p.GetGuid())
	}
	switch {
	case p.GetName() == config.SystemPool:
		text += ", the system's own"
	case !p.GetDeclared():
		text += ", not declared"
	}
	if p.GetReadOnly() {
		text += ", read-only"
	}
	return text
}

func poolSize(p *poolv1.Pool) string {
	if !p.GetImported() {
		return ""
	}
	text := fmt.Sprintf("%s, %s used, %s free", bytesText(p.GetSizeBytes()), bytesText(p.GetAllocatedBytes()), bytesText(p.GetFreeBytes()))
	if p.FragmentationPercent != nil {
		text += fmt.Sprintf(", free space %d%% in pieces", p.GetFragmentationPercent())
	}
	return text
}

// scanText is a scrub or resilver as a line.
func scanText(s *poolv1.Scan) string {
	if s == nil {
		return ""
	}
	text := enumName(s.GetFunction().String(), "FUNCTION_") + " " + enumName(s.GetProgress().String(), "PROGRESS_")
	switch s.GetProgress() {
	case poolv1.Progress_PROGRESS_RUNNING, poolv1.Progress_PROGRESS_PAUSED:
		text += fmt.Sprintf(", %s of %s, %s", bytesText(s.GetDoneBytes()), bytesText(s.GetTotalBytes()), percent(s.GetDoneBytes(), s.GetTotalBytes()))
		if s.GetBytesPerSecond() > 0 {
			text += fmt.Sprintf(" at %s/s", bytesText(s.GetBytesPerSecond()))
		}
		if s.GetRemaining() != nil {
			text += ", about " + roundedSeconds(s.GetRemaining()) + " to go"
		}
	default:
		text += " " + stamp(s.GetEndedAt())
	}
	return fmt.Sprintf("%s; %s repaired, %d errors that could not be", text, bytesText(s.GetRepairedBytes()), s.GetErrors())
}

func workText(w *poolv1.Work) string {
	if w == nil {
		return ""
	}
	return fmt.Sprintf("%s %s, %s", w.GetVdev(), enumName(w.GetProgress().String(), "PROGRESS_"), percent(w.GetDoneBytes(), w.GetTotalBytes()))
}
