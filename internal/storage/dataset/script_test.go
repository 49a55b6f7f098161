package dataset

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

type script struct {
	t      *testing.T
	m      *model
	r      *Reconciler
	spec   Spec
	uptime time.Duration
}

// TestScripts runs testdata/scripts/*.txt. With -rewrite the answers are written anew.
//
//	pool NAME               there is such a pool       roots NAME...        where the domain looks
//	declare                 one dataset a line, NAME [volume=SIZE [sparse]] [PROPERTY=VALUE...]; what was declared before is forgotten
//	clear NAME P...         a person takes local values away
//	set NAME P=V...         a person does              fail NAME with=space|none       pass 1m
//	diff, run, list, conditions, status
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{t: t, m: newModel()}
		s.r = New(s.m, func() time.Duration { return s.uptime })
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.step(d) })
	})
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
		return s.m.String()
	case "conditions":
		return printed(Conditions(s.spec, s.observe()))
	case "status":
		st := s.r.Status(s.spec, s.observe())
		out := fmt.Sprintf("ready %t %s\n", st.Ready, st.Reason)
		for _, one := range st.Datasets {
			out += fmt.Sprintf("%+v\n", one)
		}
		return out
	case "declare":
		s.spec.Datasets = nil
		for line := range strings.Lines(d.Input) {
			s.spec.Datasets = append(s.spec.Datasets, declared(s.t, strings.Fields(line)))
		}
	case "pass":
		s.uptime += time.Minute
	default:
		s.change(d)
	}
	return "ok\n"
}

func (s *script) change(d *datadriven.TestData) {
	for _, a := range d.CmdArgs {
		switch d.Cmd {
		case "pool":
			s.m.add(a.Key, zfs.Filesystem)
		case "roots":
			s.spec.Roots = append(s.spec.Roots, a.Key)
		case "set":
			if len(a.Vals) > 0 {
				s.m.datasets[d.CmdArgs[0].Key].local[a.Key] = a.Vals[0]
			}
		case "clear":
			delete(s.m.datasets[d.CmdArgs[0].Key].local, a.Key)
		case "fail":
			s.m.fail[d.CmdArgs[0].Key] = map[string]error{"space": zfs.ErrNoSpace}[d.CmdArgs[1].Vals[0]]
		default:
			s.t.Fatalf("unknown command %q", d.Cmd)
		}
	}
}

// run is a pass of the loop.
func (s *script) run() string {
	var out strings.Builder
	for range 5 {
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

func declared(t *testing.T, words []string) Dataset {
	d := Dataset{Name: words[0], Kind: zfs.Filesystem, Properties: map[string]string{}}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "sparse":
			d.Sparse = true
		case "volume":
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			d.Kind, d.SizeBytes = zfs.Volume, n
		default:
			d.Properties[name] = value
		}
	}
	if len(d.Properties) == 0 {
		d.Properties = nil
	}
	return Dataset{Name: d.Name, Kind: d.Kind, SizeBytes: d.SizeBytes, Sparse: d.Sparse, Properties: maps.Clone(d.Properties)}
}
