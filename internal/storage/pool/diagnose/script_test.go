package diagnose

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/events"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

var update = flag.Bool("update", false, "write what the scripts give into them again")

// world plays a script. Commands:
//
//	pool NAME                    a pool; all that follows is in it
//	vdev TYPE-N A B ...          a vdev of devices, or one device alone: vdev disk A
//	spare|cache|log|special A    devices of other classes
//	set A STATE [errors=N]       the state of a device, by which event ever that came
//	stand A S                    spare S stands in for A
//	resilver on|off              redundancy is being restored
//	event CLASS A|- [k=v ...]    n=10 (as often) every=1s ago=1h context=import scan state=ONLINE cksum_n, cksum_t, io_n, io_t, slow_n, slow_t
//	at 15s                       time goes on
//	look, next, marks, failed A
type world struct {
	t      *testing.T
	engine *Engine
	now    time.Time
	pools  []pool.Pool
	guids  map[string]zfs.GUID
	eid    uint64
	out    strings.Builder
}

func (w *world) pool() *pool.Pool { return &w.pools[len(w.pools)-1] }

func (w *world) guid(name string) zfs.GUID {
	if _, known := w.guids[name]; !known {
		w.guids[name] = zfs.GUID(100 + len(w.guids))
	}
	return w.guids[name]
}

func (w *world) leaf(name string, class pool.Class) pool.Vdev {
	state := pool.Online
	if class == pool.Spare {
		state = pool.Available
	}
	return pool.Vdev{Name: name, Type: "disk", Class: class, GUID: w.guid(name), Path: "/dev/" + name, State: state}
}

// each calls f with every device of a name.
func (w *world) each(name string, f func(*pool.Vdev)) {
	var walk func(vs []pool.Vdev)
	walk = func(vs []pool.Vdev) {
		for i := range vs {
			walk(vs[i].Children)
			if vs[i].Name == name {
				f(&vs[i])
			}
		}
	}
	walk(w.pool().Vdevs)
}

func (w *world) actions(as []Action) {
	for _, a := range as {
		fmt.Fprintf(&w.out, "  %s\n", a)
	}
}

func (w *world) command(line string) {
	f := strings.Fields(line)
	switch f[0] {
	case "pool":
		w.pools = append(w.pools, pool.Pool{Name: f[1], GUID: w.guid("pool " + f[1]), State: pool.Online})
	case "vdev":
		v := pool.Vdev{Name: f[1], Type: strings.TrimRight(f[1], "-0123456789"), GUID: w.guid(w.pool().Name + f[1]), State: pool.Online}
		for _, name := range f[2:] {
			v.Children = append(v.Children, w.leaf(name, pool.Normal))
		}
		if f[1] == "disk" {
			v = v.Children[0]
		}
		w.pool().Vdevs = append(w.pool().Vdevs, v)
	case "spare", "cache", "log", "special":
		for _, name := range f[1:] {
			w.pool().Vdevs = append(w.pool().Vdevs, w.leaf(name, pool.Class(f[0])))
		}
	case "set":
		w.each(f[1], func(v *pool.Vdev) {
			v.State = pool.State(f[2])
			for _, word := range f[3:] {
				if _, err := fmt.Sscanf(word, "errors=%d", &v.ChecksumErrors); err != nil {
					w.t.Fatalf("%s: %v", line, err)
				}
			}
		})
	case "stand":
		spare := w.leaf(f[2], pool.Normal)
		w.each(f[1], func(v *pool.Vdev) {
			*v = pool.Vdev{Name: "spare-0", Type: "spare", GUID: 1, Children: []pool.Vdev{*v, spare}}
		})
		for i := range w.pool().Vdevs {
			if v := &w.pool().Vdevs[i]; v.Class == pool.Spare && v.Name == f[2] {
				v.State = pool.InUse
			}
		}
	case "resilver":
		w.pool().Scan = pool.Scan{}
		if f[1] == "on" {
			w.pool().Scan = pool.Scan{Function: pool.Resilver, Progress: pool.Running}
		}
	case "event":
		w.event(f[1], f[2], f[3:])
	case "at":
		d, err := time.ParseDuration(f[1])
		if err != nil {
			w.t.Fatalf("%s: %v", line, err)
		}
		w.now = time.Unix(1e9, 0).UTC().Add(d)
	case "look":
		w.actions(w.engine.Look(w.pools, w.now))
	case "next":
		next := "nothing"
		if n := w.engine.Next(); !n.IsZero() {
			next = n.Sub(time.Unix(1e9, 0)).String()
		}
		fmt.Fprintf(&w.out, "  %s\n", next)
	case "marks":
		for _, m := range w.engine.Marks() {
			for name, guid := range w.guids {
				if guid == m.Vdev {
					fmt.Fprintf(&w.out, "  %s: %s\n", name, m.Why)
				}
			}
		}
	case "failed":
		w.engine.Failed(Action{PoolGUID: w.pool().GUID, VdevGUID: w.guid(f[1])})
	default:
		w.t.Fatalf("unknown command %q", line)
	}
}

// parentOfName is the GUID of the vdev that a device is in.
func (w *world) parentOfName(name string) zfs.GUID {
	for _, v := range w.pool().Vdevs {
		for _, leaf := range v.Leaves() {
			if leaf.Name == name {
				return v.GUID
			}
		}
	}
	return 0
}

func (w *world) event(class, device string, words []string) {
	ev := events.Event{Pool: w.pool().Name, PoolGUID: w.pool().GUID, FailMode: "wait"}
	for _, prefix := range []string{"ereport.fs.zfs.", "resource.fs.zfs.", "sysevent.fs.zfs."} {
		short := map[string]string{"ereport.fs.zfs.": "", "resource.fs.zfs.": "resource.", "sysevent.fs.zfs.": "sysevent."}[prefix]
		if rest, ok := strings.CutPrefix(class, short); ok && short != "" {
			class = prefix + rest
		}
	}
	if !strings.Contains(class, ".fs.zfs.") {
		class = "ereport.fs.zfs." + class
	}
	ev.Class = events.Class(class)
	if device != "-" {
		ev.VdevGUID, ev.VdevType, ev.VdevPath, ev.ParentGUID = w.guid(device), "disk", "/dev/"+device, w.parentOfName(device)
	}
	n, every, ago := 1, time.Duration(0), time.Duration(0)
	threshold := func(t *events.Threshold, word, name string) {
		var n uint64
		if _, err := fmt.Sscanf(word, name+"_n=%d", &n); err == nil {
			t.N, t.Set = n, t.Within > 0
		}
		if _, err := fmt.Sscanf(word, name+"_t=%d", &n); err == nil {
			t.Within, t.Set = time.Duration(n)*time.Second, t.N > 0
		}
	}
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "n":
			_, _ = fmt.Sscan(value, &n)
		case "every":
			every, _ = time.ParseDuration(value)
		case "ago":
			ago, _ = time.ParseDuration(value)
		case "context":
			ev.Context = map[string]events.Load{"open": events.LoadOpen, "import": events.LoadImport}[value]
		case "scan":
			ev.Priority = 4
		case "state":
			ev.VdevState = pool.State(value)
		case "type":
			ev.VdevType = value
		default:
			threshold(&ev.Checksums, word, "cksum")
			threshold(&ev.IOs, word, "io")
			threshold(&ev.SlowIOs, word, "slow")
		}
	}
	for range n {
		w.eid++
		ev.EID, ev.Time = w.eid, w.now.Add(-ago)
		w.actions(w.engine.Event(ev, w.pools, w.now))
		w.now = w.now.Add(every)
	}
}

// TestScripts plays the scripts of testdata: lines that are indented are what comes out of the command before them.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatalf("scripts: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".script"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := &world{t: t, engine: New(Config{}), now: time.Unix(1e9, 0).UTC(), guids: map[string]zfs.GUID{}}
			for line := range strings.Lines(string(text)) {
				line = strings.TrimRight(line, "\n")
				if strings.HasPrefix(line, "  ") {
					continue
				}
				w.out.WriteString(line + "\n")
				if line != "" && !strings.HasPrefix(line, "#") {
					w.command(line)
				}
			}
			if *update {
				if err := os.WriteFile(file, []byte(w.out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(string(text), w.out.String()); d != "" && !*update {
				t.Errorf("script (-want +got):\n%s", d)
			}
		})
	}
}
