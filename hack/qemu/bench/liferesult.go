package bench

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// liferow is one line of the table of a node's life: a figure, and what of the same run it is held against.
type liferow struct {
	name, unit string
	value      float64
	// beside says what the other is, which is in the same unit; empty is nothing.
	beside string
	other  float64
}

// The words for what figures are held against.
const (
	ordinary    = "ordinary reboot"
	ofRelease   = "size of the release"
	rootOnDisk  = "root on verity"
	withNone    = "with none"
	oneList     = "one zfs list"
	justBefore  = "before"
	theProgram  = "zfs send | zfs receive"
	oneRecord   = "one record"
	lifeNothing = "-"
)

// rows are those of what was measured.
func (l *Life) rows() (rows []liferow) {
	add := func(name, unit string, value float64, beside string, other float64) {
		rows = append(rows, liferow{name, unit, value, beside, other})
	}
	if u := l.Upgrade; u != nil {
		add("upgrade: from the call to the restart", "s", u.WriteSeconds, "", 0)
		add("upgrade: from the restart to the first answer", "s", u.ServiceSeconds, ordinary, u.Reboot.ServiceSeconds)
		add("upgrade: from the restart to blessed", "s", u.BlessedSeconds, ordinary, u.Reboot.ServiceSeconds)
		add("upgrade: API silent", "s", u.DowntimeSeconds, ordinary, u.Reboot.DowntimeSeconds)
		add("upgrade: written", "MB", float64(u.WrittenBytes)/mb, ofRelease, float64(u.ReleaseBytes)/mb)
	}
	for _, r := range l.Rollbacks {
		name := "rollback, " + r.Name
		if r.Note != "" {
			name += " (" + r.Note + ")"
		}
		add(name+": from the restart to service on the old slot", "s", r.ServiceSeconds, ordinary, r.Reboot.ServiceSeconds)
		add(name+": API silent", "s", r.DowntimeSeconds, ordinary, r.Reboot.DowntimeSeconds)
	}
	if m := l.Memory; m != nil && m.VerityBytes > 0 {
		add("memory with the root on verity", "MB", float64(m.VerityBytes)/mb, "", 0)
		if m.RAMBytes > 0 {
			add("memory with the root in RAM", "MB", float64(m.RAMBytes)/mb, rootOnDisk, float64(m.VerityBytes)/mb)
		}
	}
	return slices.Concat(rows, l.Pools.rows(), l.Replication.rows())
}

// rows are those of pools.
func (p *Pools) rows() (rows []liferow) {
	if p == nil {
		return nil
	}
	snapshots := fmt.Sprintf("%d snapshots: ", p.Snapshots)
	for _, r := range []liferow{
		{fmt.Sprintf("machined with %d datasets", p.Datasets), "MB", float64(p.MachinedBytes) / mb, withNone, float64(p.MachinedBytesBefore) / mb},
		{snapshots + "list over the API", "s", p.ListSeconds, oneList, p.ProgramSeconds},
		{snapshots + "what a schedule prunes", "s", p.PlanSeconds, oneList, p.ProgramSeconds},
		{snapshots + "most memory of machined", "MB", float64(p.MachinedPeakBytes) / mb, oneList, float64(p.ProgramPeakBytes) / mb},
		{snapshots + "machined", "MB", float64(p.MachinedPeakBytes) / mb, justBefore, float64(p.MachinedBytes) / mb},
		{"a disk is pulled: until its spare is being filled", "s", p.SpareSeconds, "", 0},
	} {
		if r.value > 0 { // what comes behind a failure was not measured
			rows = append(rows, r)
		}
	}
	return rows
}

// print writes the table.
func (l *Life) print(w io.Writer) error {
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "figure\tunit\tvalue\tbeside\t\tratio\t")
	for _, r := range l.rows() {
		beside, other, ratio := lifeNothing, lifeNothing, lifeNothing
		if r.beside != "" && r.other > 0 {
			beside, other, ratio = r.beside, fmt.Sprintf("%.1f", r.other), fmt.Sprintf("%.2f", r.value/r.other)
		}
		fmt.Fprintf(table, "%s\t%s\t%.1f\t%s\t%s\t%s\t\n", r.name, r.unit, r.value, beside, other, ratio)
	}
	return table.Flush()
}
