package upgrade

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestScripts runs testdata/scripts/*.txt: a command a block, and what it comes to. With -rewrite the answers are written anew.
//
//	begin to=2 from=1     back to=1 from=2     written boot=x [failing=a,b]    abandon reason=…    cancel
//	start boot=x on=2 [counted] [untried] [crash=…]                 look since=5m [failing=a,b] [held=30s]
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		var r Record
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			next, text := step(t, r, d)
			r = next
			return text
		})
	})
}

// system makes a release of a number; odd ones are in slot a.
func system(n string) System {
	slot := "a"
	if strings.ContainsAny(n, "2468") {
		slot = "b"
	}
	return System{Version: n + ".0.0", RootHash: "hash" + n, Slot: slot}
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func step(t *testing.T, r Record, d *datadriven.TestData) (Record, string) {
	text := func(name string) string {
		var s string
		if d.HasArg(name) {
			d.ScanArgs(t, name, &s)
		}
		return strings.ReplaceAll(s, "_", " ")
	}
	var actions []Action
	var err error
	var again time.Duration
	switch d.Cmd {
	case "begin":
		r, actions, err = r.Begin(system(text("to")), system(text("from")))
	case "back":
		r, err = r.BeginBack(system(text("to")), system(text("from")))
	case "written":
		r = r.Written(text("boot"), gates(text("failing"), "0s"))
	case "abandon":
		r, actions = r.Abandon(text("reason"), noon)
	case "cancel":
		r, actions, err = r.Cancel(noon)
	case "start":
		r, actions = r.Started(Start{
			Boot: text("boot"), Running: system(text("on")), Other: system("1"), Counted: d.HasArg("counted"),
			Untried: d.HasArg("untried"), Crash: text("crash"),
		}, noon)
	case "look":
		since, errSince := time.ParseDuration(text("since"))
		if errSince != nil {
			t.Fatal(errSince)
		}
		r, actions, again = r.Look(gates(text("failing"), text("held")), noon, since, deadline)
	default:
		t.Fatalf("unknown command %q", d.Cmd)
	}
	return r, show(r, actions, again, err)
}

// gates are api, network and node; all have been as they are for a time.
func gates(failing, held string) []Gate {
	if held == "" {
		held = "0s"
	}
	d, err := time.ParseDuration(held)
	if err != nil {
		panic(err)
	}
	var out []Gate
	for _, name := range []string{"api", "network", "node"} {
		g := Gate{Name: name, Holds: true, Since: noon.Add(-d)}
		if strings.Contains(","+failing+",", ","+name+",") {
			g.Holds, g.Reason = false, "not there"
		}
		out = append(out, g)
	}
	return out
}

func show(r Record, actions []Action, again time.Duration, err error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", r.Stage)
	if r.Target.Version != "" {
		fmt.Fprintf(&b, " %s from %s", r.Target.Version, r.From.Version)
	}
	if r.Boot != "" {
		fmt.Fprintf(&b, ", boot %s", r.Boot)
	}
	if len(r.Waived) > 0 {
		fmt.Fprintf(&b, ", without %s", strings.Join(r.Waived, ", "))
	}
	if r.Reason != "" {
		fmt.Fprintf(&b, ": %s", r.Reason)
	}
	b.WriteString("\n")
	if l := r.Last; l != nil {
		fmt.Fprintf(&b, "last: %s from %s succeeded=%v %s\n", l.Target.Version, l.From.Version, l.Succeeded, l.Reason)
	}
	for _, a := range actions {
		fmt.Fprintf(&b, "  %s %s\n", a.Do, strings.TrimSpace(strings.Join([]string{a.Slot, a.Boot, a.Text}, " ")))
	}
	if again > 0 {
		fmt.Fprintf(&b, "  look again in %s\n", again)
	}
	if err != nil {
		fmt.Fprintf(&b, "error: %v\n", err)
	}
	return b.String()
}

// world is a disk and a boot loader, on which the actions are done.
type world struct {
	running string // number of the system
	// tries left by slot; -1 is blessed, absent is no entry.
	entries map[string]int
	held    map[string]string // system in each slot
	newest  string            // the slot of the entry that is tried before the other
	boot    int
}

func (w *world) do(actions []Action) (reboot bool) {
	for _, a := range actions {
		switch a.Do {
		case Bless:
			w.entries[a.Slot] = -1
		case Spoil:
			if _, ok := w.entries[a.Slot]; ok {
				w.entries[a.Slot] = 0
			}
		case Forget:
			delete(w.entries, a.Slot)
		case Reboot:
			reboot = true
		}
	}
	return reboot
}

// start is the boot loader: the newest entry that has tries left, or else any.
func (w *world) start() {
	w.boot++
	best := ""
	for slot, tries := range w.entries {
		if tries != 0 && (best == "" || slot == w.newest) {
			best = slot
		}
	}
	if best == "" {
		panic("nothing to boot")
	}
	if w.entries[best] > 0 {
		w.entries[best]--
	}
	w.running = w.held[best]
}

// walk is a world in which the power is cut now and then, and the record that its agent keeps.
type walk struct {
	*world
	r    Record
	rng  *rand.Rand
	cuts int // that are to come still
}

// apply does the actions, or only some of them before the power fails; the record is stored behind them. It tells whether the machine has started again.
func (w *walk) apply(next Record, actions []Action) bool {
	if w.cuts > 0 && w.rng.IntN(4) == 0 {
		w.cuts--
		w.do(actions[:w.rng.IntN(len(actions)+1)])
		if w.rng.IntN(2) == 0 {
			w.r = next
		}
		w.start()
		return true
	}
	reboot := w.do(actions)
	w.r = next
	if reboot {
		w.start()
	}
	return reboot
}

// turn is what an agent does that starts. It tells whether there is nothing more to do.
func (w *walk) turn(other string, good bool) bool {
	at := system(w.running)
	next, actions := w.r.Started(Start{Boot: fmt.Sprint(w.boot), Running: at, Other: system(other), Counted: w.entries[at.Slot] >= 0}, noon)
	if w.apply(next, actions) {
		return false
	}
	switch w.r.Stage {
	case Trial:
		failing := "node"
		if good {
			failing = ""
		}
		next, actions, _ := w.r.Look(gates(failing, "1m"), noon, deadline, deadline)
		w.apply(next, actions)
		return false
	case Armed:
		w.start()
		return false
	}
	return true
}

// proven says that a trial has ended with the node's own judgement.
func (w *walk) proven(target string, good bool) bool {
	return w.running == target || w.r.Last != nil && !w.r.Last.Succeeded && !good && strings.Contains(w.r.Last.Reason, "node")
}

// TestPowerCuts walks upgrades, good and bad ones, with the power cut between any two steps, actions included. There is always a system to boot,
// the one that runs is never written to, a good release is reached in the end and a bad one never stays.
func TestPowerCuts(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 0))
		good := rng.IntN(2) == 0
		w := &walk{rng: rng, cuts: 3, world: &world{
			running: "1", entries: map[string]int{"a": -1}, held: map[string]string{"a": "1"}, newest: "a",
		}}
		for range 100 {
			if !w.turn("1", good) {
				continue
			}
			if w.proven("2", good) {
				break
			}
			next, actions, err := w.r.Begin(system("2"), system(w.running))
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if w.apply(next, actions) {
				continue
			}
			if _, ok := w.entries["b"]; ok {
				t.Fatalf("seed %d: slot b is written while it has an entry", seed)
			}
			w.held["b"] = "2"
			if w.cuts > 0 && rng.IntN(3) == 0 {
				w.cuts--
				w.start()
				continue
			}
			w.entries["b"], w.newest = Tries, "b"
			w.apply(w.r.Written(fmt.Sprint(w.boot), nil), nil)
		}
		want := "1"
		if good {
			want = "2"
		}
		if w.running != want || w.r.Busy() != nil {
			t.Errorf("seed %d: good=%v, and system %s runs, %s", seed, good, w.running, w.r.Stage)
		}
	}
}

// TestPowerCutsBack is the same on the way back to what the other slot holds: its entry is never gone, so that it can be tried again.
func TestPowerCutsBack(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 0))
		good := rng.IntN(2) == 0
		w := &walk{rng: rng, cuts: 3, world: &world{
			running: "2", entries: map[string]int{"a": -1, "b": -1}, held: map[string]string{"a": "1", "b": "2"}, newest: "b",
		}}
		for range 100 {
			idle := w.turn("2", good)
			if _, ok := w.entries["a"]; !ok {
				t.Fatalf("seed %d: the entry of system 1 is gone", seed)
			}
			if !idle {
				continue
			}
			if w.proven("1", good) {
				break
			}
			next, err := w.r.BeginBack(system("1"), system(w.running))
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if w.apply(next, nil) {
				continue
			}
			if w.cuts > 0 && rng.IntN(3) == 0 {
				w.cuts--
				w.start()
				continue
			}
			w.entries["a"], w.newest = Tries, "a"
			w.apply(w.r.Written(fmt.Sprint(w.boot), nil), nil)
		}
		want := "2"
		if good {
			want = "1"
		}
		if w.running != want || w.r.Busy() != nil {
			t.Errorf("seed %d: good=%v, and system %s runs, %s", seed, good, w.running, w.r.Stage)
		}
	}
}

// FuzzRecord: whatever the state volume holds, an agent that starts leaves a record that a later one understands, and no upgrade is under way for
// good: after the next start on the other system, or the deadline, a new one can begin or a reboot is asked for.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"stage":"trial","target":{"rootHash":"hash2","slot":"b"},"boot":"y","reason":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r Record
		if json.Unmarshal(data, &r) != nil {
			return
		}
		if fresh, _ := r.Started(Start{Boot: "other", Running: system("1")}, noon); r.Boot != "other" && fresh.Busy() != nil {
			t.Errorf("from %s: another boot leaves %+v", data, fresh)
		}
		for i, on := range []string{"2", "1", "2"} {
			r, _ = r.Started(Start{Boot: fmt.Sprint("boot", i), Running: system(on), Other: system("1"), Counted: on == "2"}, noon)
			next, actions, _ := r.Look(gates("node", "1m"), noon, deadline, deadline)
			if r.Stage == Trial && (next.Stage != Reverting || len(actions) == 0) {
				t.Fatalf("a trial that is not well at its deadline goes on: %+v", next)
			}
			r = next
		}
		r, _ = r.Started(Start{Boot: "last", Running: system("1")}, noon)
		r, _ = r.Started(Start{Boot: "very last", Running: system("1")}, noon)
		if err := r.Busy(); err != nil {
			t.Errorf("from %s: %v", data, err)
		}
	})
}
