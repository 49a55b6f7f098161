package pool

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// row is a line of a picture.
type row struct{ name, state, note string }

// Picture is the tree of a pool's vdevs as text, a line for each: how it is, the disk that it is on, and what is wrong with it.
func Picture(p Pool, obs Observed) string {
	rows := []row{{name: p.Name, state: string(p.State)}}
	for _, class := range []Class{Normal, Special, Dedup, Log, Cache, Spare} {
		var vdevs []Vdev
		for _, v := range p.Vdevs {
			if v.Class == class && v.Type != "hole" && v.Type != "indirect" {
				vdevs = append(vdevs, v)
			}
		}
		if len(vdevs) > 0 && class != Normal {
			rows = append(rows, row{name: class.String()})
		}
		rows = append(rows, branches(vdevs, "", p, obs)...)
	}
	wide := 0
	for _, r := range rows {
		wide = max(wide, utf8.RuneCountInString(r.name))
	}
	var out strings.Builder
	for _, r := range rows {
		line := fmt.Sprintf("%s%s  %-8s  %s", r.name, strings.Repeat(" ", wide-utf8.RuneCountInString(r.name)), r.state, r.note)
		out.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return out.String()
}

// branches are the rows of vdevs below a stem.
func branches(vdevs []Vdev, stem string, p Pool, obs Observed) []row {
	var out []row
	for i, v := range vdevs {
		branch, below := "├─ ", "│  "
		if i == len(vdevs)-1 {
			branch, below = "└─ ", "   "
		}
		label := v.Name
		if len(v.Children) == 0 && v.Path != "" {
			label = strings.TrimPrefix(v.Path, "/dev/")
		}
		out = append(out, row{name: stem + branch + label, state: string(v.State), note: notes(v, p, obs)})
		out = append(out, branches(v.Children, stem+below, p, obs)...)
	}
	return out
}

// notes say what there is to say of a vdev.
func notes(v Vdev, p Pool, obs Observed) string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if len(v.Children) == 0 {
		if d, found := obs.diskOf(v); found {
			add("%s", d)
		}
	}
	if why := v.Why(); why != "" && v.State != Online && v.State != InUse {
		add("%s", why)
	}
	for _, c := range []struct {
		what string
		n    uint64
	}{{"read errors", v.ReadErrors}, {"write errors", v.WriteErrors}, {"checksum errors", v.ChecksumErrors}, {"slow I/Os", v.SlowIOs}} {
		if c.n > 0 {
			add("%d %s", c.n, c.what)
		}
	}
	if v.UsedBy != "" {
		add("in use by pool %s", v.UsedBy)
	}
	if len(v.Children) == 0 && p.Scan.Active() && v.State == Online {
		switch {
		case v.RepairedBytes > 0 && p.Scan.Resilvers():
			add("resilvering, %d MiB", v.RepairedBytes>>20)
		case v.RepairedBytes > 0:
			add("repaired, %d MiB", v.RepairedBytes>>20)
		case v.Waiting:
			add("waits for its resilver")
		}
	}
	if v.Trim.Progress == Running {
		add("trimming, %.0f %%", v.Trim.DonePercent())
	}
	if v.Initialize.Progress == Running {
		add("initializing, %.0f %%", v.Initialize.DonePercent())
	}
	if v.PhysicalShift > v.ConfiguredShift {
		add("sectors of %d bytes are used as %d", 1<<v.PhysicalShift, 1<<v.ConfiguredShift)
	}
	return strings.Join(words, "; ")
}
