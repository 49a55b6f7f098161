package snapshots

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// script is a model, and a domain on it.
type script struct {
	t     *testing.T
	m     *model
	r     *Reconciler
	spec  Spec
	bases Bases
	lost  error
}

// TestScripts runs testdata/scripts/*.txt: a command a block, and what it comes to. With -rewrite the answers are written anew.
//
//	datasets NAME...                  the file systems that there are          policy name=x on=tank/a[/...] [not=..] schedule and rules; adds one
//	snapshot NAME...                  a person makes them now                  hold, clone, busy, base NAME by=x
//	pass 90m                          time goes by                             clock 2026-01-01T00:00:00Z  the clock is set; uptime is not
//	fail NAME with=space|none         each change fails, or works again        bases with=lost|known
//	readonly POOL...                  the pools that are declared read-only; none without a name
//	doubt on|off                      nobody has said that the clock is right
//	mark NAME fenced=1 readonly=on    replication has it, and what is below    unmark NAME
//	restart                           another process takes over               diff, run, list, preview, status, failing
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{t: t, m: newModel(), bases: Bases{}}
		s.restart()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.step(d) })
	})
}

func (s *script) restart() {
	s.r = New(s.m, s.m.clock, func(context.Context) (Bases, Unknown, error) { return s.bases, nil, s.lost })
}

func (s *script) observe() Observed {
	obs, err := s.r.Observe(context.Background(), s.spec)
	if err != nil {
		s.t.Fatal(err)
	}
	return obs
}

func (s *script) step(d *datadriven.TestData) string {
	switch d.Cmd {
	case "diff":
		return printed(Diff(s.spec, s.observe()))
	case "run":
		return s.run()
	case "list":
		return s.m.String() + "\n"
	case "preview":
		return printed(Preview(s.spec, s.observe()))
	case "status":
		return s.status()
	case "failing":
		return s.failing()
	case "restart":
		s.restart()
	case "pass":
		s.m.pass(duration(s.t, d.CmdArgs[0].Key))
	case "clock":
		at, err := time.Parse(time.RFC3339, d.CmdArgs[0].Key)
		if err != nil {
			s.t.Fatal(err)
		}
		s.m.now = at
	case "readonly":
		s.spec.ReadOnly = nil
		for _, a := range d.CmdArgs {
			s.spec.ReadOnly = append(s.spec.ReadOnly, a.Key)
		}
	case "doubt":
		s.m.doubt = d.CmdArgs[0].Key == "on"
	case "policy":
		p := policy(s.t, d)
		if err := p.Check(); err != nil {
			return err.Error() + "\n"
		}
		s.spec.Policies = append(s.spec.Policies, p)
	default:
		s.change(d)
	}
	return "ok\n"
}

// change is a step that happens to the model.
func (s *script) change(d *datadriven.TestData) {
	var names []string
	word := map[string]string{}
	for _, a := range d.CmdArgs {
		if len(a.Vals) == 0 {
			names = append(names, a.Key)
		} else {
			word[a.Key] = a.Vals[0]
		}
	}
	for _, name := range names {
		switch d.Cmd {
		case "datasets":
			s.m.datasets = append(s.m.datasets, name)
		case "snapshot":
			if err := s.m.Snapshot(context.Background(), []string{name}, nil); err != nil {
				s.t.Fatal(err)
			}
		case "hold":
			s.m.snapshots[name].tags = append(s.m.snapshots[name].tags, word["by"])
		case "clone":
			s.m.snapshots[name].clones = append(s.m.snapshots[name].clones, word["by"])
		case "busy":
			s.m.busy[name] = word["by"] != "nobody"
		case "base":
			dataset, short, _ := strings.Cut(name, "@")
			for _, one := range s.observe().Datasets[dataset] {
				if one.Name == short {
					s.bases[one.GUID] = word["by"]
				}
			}
		case "mark":
			s.m.marks[name] = marks(word)
		case "unmark":
			delete(s.m.marks, name)
		case "fail":
			s.m.fail[name] = map[string]error{"space": zfs.ErrNoSpace, "suspended": zfs.ErrSuspended}[word["with"]]
		default:
			s.t.Fatalf("unknown command %q", d.Cmd)
		}
	}
	if d.Cmd == "bases" {
		s.lost = map[string]error{"lost": errors.New("read the journal: no luck")}[word["with"]]
	}
}

// marks are properties by what is behind the colon in the names of those that replication has.
func marks(word map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range word {
		if name != "readonly" {
			name = "dev.cyvive:" + name
		}
		out[name] = value
	}
	return out
}

// run is a pass of the loop.
func (s *script) run() string {
	var out strings.Builder
	for range 4 {
		ops := s.r.Diff(s.spec, s.observe())
		if len(ops) == 0 {
			return out.String()
		}
		for _, op := range ops {
			fmt.Fprintln(&out, op)
			if err := s.r.Apply(context.Background(), s.spec, op); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	return out.String() + "there is no end to it\n"
}

func (s *script) status() string {
	var out strings.Builder
	st := s.r.Status(s.spec, s.observe())
	fmt.Fprintf(&out, "ready %t next %s %s\n", st.Ready, st.Next, st.Reason)
	for _, p := range st.Policies {
		fmt.Fprintf(&out, "%s: %d, newest %s\n", p.Name, p.Snapshots, p.Newest.Format(time.RFC3339))
		for _, line := range p.Problems {
			fmt.Fprintln(&out, "  problem:", line)
		}
		for _, line := range p.Paused {
			fmt.Fprintln(&out, "  "+line)
		}
		for _, v := range p.Stuck {
			fmt.Fprintln(&out, "  "+v.String())
		}
	}
	return out.String()
}

// failing is what does not go well, since when, and when it is tried again.
func (s *script) failing() string {
	var out strings.Builder
	for _, p := range s.r.Status(s.spec, s.observe()).Policies {
		if p.Since.IsZero() {
			fmt.Fprintf(&out, "%s: nothing\n", p.Name)
			continue
		}
		fmt.Fprintf(&out, "%s: since %s", p.Name, p.Since.Format(time.RFC3339))
		if !p.Again.IsZero() {
			fmt.Fprintf(&out, ", again at %s", p.Again.Format(time.RFC3339))
		}
		fmt.Fprintf(&out, ": %s\n", strings.Join(p.Problems, "; "))
	}
	return out.String()
}

func printed[T fmt.Stringer](list []T) string {
	var out strings.Builder
	for _, one := range list {
		fmt.Fprintln(&out, one)
	}
	if len(list) == 0 {
		return "nothing\n"
	}
	return out.String()
}

func duration(t *testing.T, text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// policy reads the arguments of a policy.
func policy(t *testing.T, d *datadriven.TestData) Policy {
	p := Policy{}
	counts := map[string]*int{
		"last": &p.Keep.Last, "hourly": &p.Keep.Hourly, "daily": &p.Keep.Daily, "weekly": &p.Keep.Weekly, "monthly": &p.Keep.Monthly, "yearly": &p.Keep.Yearly,
	}
	for _, a := range d.CmdArgs {
		v := strings.Join(a.Vals, ",")
		switch {
		case counts[a.Key] != nil:
			n, err := strconv.Atoi(v)
			if err != nil {
				t.Fatal(err)
			}
			*counts[a.Key] = n
		case a.Key == "name":
			p.Name = v
		case a.Key == "prefix":
			p.Prefix = v
		case a.Key == "on":
			dataset, recursive := strings.CutSuffix(v, "/...")
			p.Targets = append(p.Targets, Target{Dataset: dataset, Recursive: recursive})
		case a.Key == "not":
			p.Targets[len(p.Targets)-1].Exclude = a.Vals
		case a.Key == "matching":
			p.Keep.Matching = regexp.MustCompile(v)
		case a.Key == "age":
			p.Keep.MinAge = duration(t, v)
		default:
			schedule(t, &p.When, a.Key, v)
		}
	}
	if p.Prefix == "" {
		p.Prefix = p.Name + "-"
	}
	return p
}

func schedule(t *testing.T, s *Schedule, key, v string) {
	n, _ := strconv.Atoi(v)
	switch key {
	case "every":
		s.Every = duration(t, v)
	case "calendar":
		s.Calendar = Calendar(v)
	case "at":
		if _, err := fmt.Sscanf(v, "%d:%d", &s.Hour, &s.Minute); err != nil {
			t.Fatal(err)
		}
	case "weekday":
		s.Weekday = time.Weekday(n)
	case "day":
		s.Day = n
	case "month":
		s.Month = time.Month(n)
	default:
		t.Fatalf("unknown argument %q", key)
	}
}
