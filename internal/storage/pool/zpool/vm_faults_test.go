package zpool_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/diagnose"
	"github.com/cyvive/cyvive/internal/storage/pool/events"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/label"
)

// stream is zpool events -Hvf.
type stream struct {
	io.ReadCloser
	cmd *exec.Cmd
}

func (s stream) Close() error {
	_ = s.cmd.Process.Kill()
	err := s.ReadCloser.Close()
	_ = s.cmd.Wait() // ended by the signal
	return err
}

func open(context.Context) (io.ReadCloser, error) {
	cmd := exec.Command(programPath, "events", "-Hvf")
	cmd.Env = environment()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return stream{out, cmd}, cmd.Start()
}

// follow returns the events up to one of a class for a pool.
func follow(t *testing.T, since events.Mark, until events.Class, name string) ([]events.Event, events.Mark) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var seen []events.Event
	end := errors.New("end")
	mark, err := events.Follow(ctx, open, since, func(e events.Event) error {
		if e.Pool == name || e.Class == events.Dropped {
			seen = append(seen, e)
		}
		if e.Class == until && e.Pool == name {
			return end
		}
		return nil
	})
	if !errors.Is(err, end) {
		t.Fatalf("wait for event %s of pool %s: %v, after %+v", until, name, err, seen)
	}
	return seen, mark
}

// TestVMEvents: events of a scrub come in order, with what package events reads of them, and once.
func TestVMEvents(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	d := files(t, t.TempDir(), "a", "b")
	must(t, z.Create(ctx, pool.Creation{Pool: "evented", Groups: []pool.Group{{Layout: pool.Mirror, Devices: d}}}))
	guid := one(t, z, "evented").GUID
	must(t, z.Scrub(ctx, "evented"))
	wait(t, "evented", "scrub")
	seen, mark := follow(t, events.Mark{}, events.ScrubFinish, "evented")
	var order []events.Class
	last := uint64(0)
	for _, e := range seen {
		if slices.Contains([]events.Class{events.PoolCreate, events.ScrubStart, events.ScrubFinish}, e.Class) {
			order = append(order, e.Class)
		}
		if e.EID <= last || e.PoolGUID != guid || e.Time.IsZero() || time.Since(e.Time).Abs() > time.Hour {
			t.Errorf("event %+v after number %d", e, last)
		}
		last = e.EID
	}
	if d := cmp.Diff([]events.Class{events.PoolCreate, events.ScrubStart, events.ScrubFinish}, order); d != "" {
		t.Errorf("order (-want +got):\n%s", d)
	}
	// A second reader goes on behind the mark.
	leaf := one(t, z, "evented").Vdevs[0].Children[0]
	must(t, z.Offline(ctx, "evented", leaf.Name, true))
	seen, _ = follow(t, mark, events.StateChange, "evented")
	e := seen[len(seen)-1]
	if seen[0].EID <= mark.EID || e.VdevGUID != leaf.GUID || e.VdevState != pool.Faulted || e.VdevPath != leaf.Path {
		t.Errorf("%+v", e)
	}
}

// TestVMSpare: a device fails, the diagnosis has a spare stand in, the device is well again, and the spare goes.
func TestVMSpare(t *testing.T) {
	z := vm(t)
	ctx := t.Context()
	d := files(t, t.TempDir(), "a", "b", "s")
	must(t, z.Create(ctx, pool.Creation{Pool: "guarded", Groups: []pool.Group{{Layout: pool.Mirror, Devices: d[:2]}, {Class: pool.Spare, Devices: d[2:]}}}))
	engine := diagnose.New(diagnose.Config{ReleaseAfter: 5 * time.Second})
	mark := events.Mark{}
	turn := func(until events.Class) []string {
		var seen []events.Event
		seen, mark = follow(t, mark, until, "guarded")
		pools, err := z.Pools(ctx)
		must(t, err)
		var done []string
		for _, e := range seen {
			for _, a := range engine.Event(e, pools, time.Now()) {
				must(t, diagnose.Apply(ctx, z, a))
				done = append(done, string(a.Kind))
			}
		}
		return done
	}
	must(t, z.Offline(ctx, "guarded", d[0], true))
	if d := cmp.Diff([]string{string(diagnose.UseSpare)}, turn(events.StateChange)); d != "" {
		t.Errorf("after the fault (-want +got):\n%s", d)
	}
	wait(t, "guarded", "resilver")
	checkTree(t, z, "guarded", "mirror DEGRADED", " spare DEGRADED", "  file FAULTED", "  file ONLINE", " file ONLINE", "file spare INUSE")
	must(t, z.Clear(ctx, "guarded", d[0]))
	wait(t, "guarded", "resilver")
	// The device may have to be resilvered in a transaction that is yet to come.
	eventually(t, "the spare goes", func() bool {
		pools, err := z.Pools(ctx)
		must(t, err)
		for _, a := range engine.Look(pools, time.Now()) {
			if err := diagnose.Apply(ctx, z, a); err != nil {
				t.Log(err)
				engine.Failed(a)
			}
		}
		return one(t, z, "guarded").Vdevs[0].Children[0].Type == "file"
	})
	checkTree(t, z, "guarded", "mirror ONLINE", " file ONLINE", " file ONLINE", "file spare AVAIL")
}

// TestVMTwoOfOneName: both are found, and each is imported by its GUID.
func TestVMTwoOfOneName(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	dirs := []string{t.TempDir(), t.TempDir()}
	guids := map[zfs.GUID]bool{}
	for _, dir := range dirs {
		must(t, z.Create(ctx, pool.Creation{Pool: "twin", Groups: []pool.Group{{Devices: files(t, dir, "a")}}}))
		guids[one(t, z, "twin").GUID] = true
		must(t, z.Export(ctx, "twin"))
	}
	found, err := z.Importable(ctx, dirs)
	must(t, err)
	if len(found) != 2 || len(guids) != 2 || !guids[found[0].GUID] || !guids[found[1].GUID] || found[0].Name != "twin" || found[1].Name != "twin" {
		t.Fatalf("%+v, want %v", found, guids)
	}
	must(t, z.Import(ctx, pool.Import{GUID: found[1].GUID, Name: "twin", Devices: dirs}))
	if err := z.Import(ctx, pool.Import{GUID: found[0].GUID, Name: "twin", Devices: dirs}); !errors.Is(err, zfs.ErrExist) {
		t.Errorf("the second under the same name: %v", err)
	}
	must(t, z.Import(ctx, pool.Import{GUID: found[0].GUID, Name: "twin2", Devices: dirs}))
	if one(t, z, "twin").GUID != found[1].GUID || one(t, z, "twin2").GUID != found[0].GUID {
		t.Error("the wrong one was imported")
	}
}

// TestVMMissing: a pool on a disk that is missing is told from one that lacks too many.
func TestVMMissing(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	dir := t.TempDir()
	d := files(t, dir, "a", "b", "c")
	must(t, z.Create(ctx, pool.Creation{Pool: "half", Groups: []pool.Group{{Layout: pool.RAIDZ1, Devices: d}}}))
	guid := one(t, z, "half").GUID
	must(t, z.Export(ctx, "half"))
	away := t.TempDir()
	must(t, os.Rename(d[0], filepath.Join(away, "a")))
	found, err := z.Importable(ctx, []string{dir})
	must(t, err)
	if len(found) != 1 || found[0].State != pool.Degraded || found[0].Problem != pool.Ready || len(found[0].Missing) != 1 {
		t.Fatalf("one missing: %+v", found)
	}
	must(t, z.Import(ctx, pool.Import{GUID: guid, Devices: []string{dir}}))
	p := one(t, z, "half")
	gone := p.Vdevs[0].Children[0]
	if p.State != pool.Degraded || p.MessageID != "ZFS-8000-2Q" || gone.State != pool.Unavailable || gone.GUID == 0 || gone.Path != d[0] || gone.Why() == "" {
		t.Errorf("%s %s %+v", p.State, p.MessageID, gone)
	}
	if err := z.Online(ctx, "half", gone.GUID.String(), false); !errors.Is(err, pool.ErrStaysOut) {
		t.Errorf("brought online while it is missing: %v, want %v", err, pool.ErrStaysOut)
	}
	must(t, os.Rename(filepath.Join(away, "a"), d[0]))
	must(t, z.Online(ctx, "half", gone.GUID.String(), false))
	wait(t, "half", "resilver")
	if p = one(t, z, "half"); p.State != pool.Online {
		t.Errorf("with all devices again: %s", p.State)
	}
	must(t, z.Export(ctx, "half"))
	must(t, errors.Join(os.Rename(d[0], filepath.Join(away, "a")), os.Rename(d[1], filepath.Join(away, "b"))))
	found, err = z.Importable(ctx, []string{dir})
	must(t, err)
	if len(found) != 1 || found[0].Problem != pool.Incomplete || len(found[0].Missing) != 2 {
		t.Fatalf("two missing: %+v", found)
	}
	if err := z.Import(ctx, pool.Import{GUID: guid, Devices: []string{dir}}); err == nil {
		t.Error("it was imported")
	}
}

// TestVMRewind: a dry run of a rewind changes nothing, whether it is needed, possible, or neither.
func TestVMRewind(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	dir := t.TempDir()
	d := files(t, dir, "a")
	must(t, z.Create(ctx, pool.Creation{Pool: "back", Groups: []pool.Group{{Devices: d}}}))
	guid := one(t, z, "back").GUID
	must(t, z.Export(ctx, "back"))
	whole, err := os.ReadFile(d[0])
	must(t, err)
	got, err := z.RewindDryRun(ctx, guid, []string{dir})
	if err != nil || !got.Possible {
		t.Errorf("of a pool that is whole: %+v, %v", got, err)
	}
	if pools, err := z.Pools(ctx); err != nil || len(pools) != 0 {
		t.Errorf("it is imported after a dry run: %+v, %v", pools, err)
	}
	// All but the labels is lost.
	broken := slices.Clone(whole)
	clear(broken[512<<10 : len(broken)-512<<10])
	must(t, os.WriteFile(d[0], broken, 0o600))
	found, err := z.Importable(ctx, []string{dir})
	must(t, err)
	if len(found) != 1 || found[0].Problem != pool.Damaged {
		t.Errorf("a damaged pool: %+v", found)
	}
	got, err = z.RewindDryRun(ctx, guid, []string{dir})
	if err != nil || got.Possible || got.Words == "" {
		t.Errorf("of a pool that is lost: %+v, %v", got, err)
	}
	after, err := os.ReadFile(d[0])
	if err != nil || !slices.Equal(broken, after) {
		t.Errorf("the dry run has written to the device (%v)", err)
	}
}

// TestVMErrors: the texts by which errors are told apart are those that the program says.
func TestVMErrors(t *testing.T) {
	z := vm(t)
	ctx := t.Context()
	d := files(t, t.TempDir(), "a", "b", "tiny")
	must(t, os.Truncate(d[2], 1<<20))
	create := func(name string, devices ...string) error {
		return z.Create(ctx, pool.Creation{Pool: name, Groups: []pool.Group{{Devices: devices}}})
	}
	must(t, create("tank", d[0]))
	for what, c := range map[string]struct{ got, want error }{
		"create what exists":        {create("tank", d[1]), zfs.ErrExist},
		"create of a device in use": {create("other", d[0]), zfs.ErrBusy},
		"create of a tiny device":   {create("other", d[2]), pool.ErrTooSmall},
		"create with a bad name":    {create("mirror", d[1]), zfs.ErrInvalid},
		"destroy what is not":       {z.Destroy(ctx, "none"), zfs.ErrNotExist},
		"export what is not":        {z.Export(ctx, "none"), zfs.ErrNotExist},
		"offline what is not":       {z.Offline(ctx, "tank", "/no/such", false), zfs.ErrNotExist},
		"online what is not":        {z.Online(ctx, "tank", "12345", false), zfs.ErrNotExist},
		"path of what is not":       {z.SetPath(ctx, "tank", "12345", "/dev/vdx1"), zfs.ErrNotExist},
		"detach what is not":        {z.Detach(ctx, "tank", "12345"), zfs.ErrNotExist},
		"a bad value":               {z.Set(ctx, "tank", "failmode", "maybe"), zfs.ErrInvalid},
		"a bad property":            {z.Set(ctx, "tank", "nosuch", "1"), zfs.ErrInvalid},
		"a property of its own":     {z.Set(ctx, "tank", "size", "1"), zfs.ErrReadOnly},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want class %q", what, c.got, c.want)
		}
	}
}

// folder is a machine whose disks are files in a folder: the Devices and Memory of package pool.
type folder struct {
	t      *testing.T
	dir    string
	memory map[string]zfs.GUID
}

func (f *folder) Disks(context.Context) ([]pool.Disk, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	var out []pool.Disk
	for _, e := range entries {
		path := filepath.Join(f.dir, e.Name())
		d := pool.Disk{Identity: disk.Identity{Name: e.Name(), Serial: e.Name(), SizeBytes: deviceBytes}, Device: path, Devices: []string{path}}
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		l, err := label.Read(file, deviceBytes)
		if err := errors.Join(file.Close()); err != nil {
			return nil, err
		}
		if err == nil {
			d.Label, d.Contents = pool.NewLabel(path, l), "ZFS"
		}
		out = append(out, d)
	}
	return out, nil
}

// errNotEncrypted: files are given to ZFS as they are.
var errNotEncrypted = errors.New("nothing is encrypted here")

func (f *folder) Encrypts() bool { return false }

func (f *folder) Reopen(context.Context, pool.Disk) (string, error) { return "", errNotEncrypted }

func (f *folder) Enrol(context.Context, pool.Disk) error { return errNotEncrypted }

func (f *folder) Erase(context.Context, pool.Disk) error { return errNotEncrypted }

func (f *folder) Prepare(_ context.Context, d pool.Disk, _ bool) (string, error) {
	files(f.t, f.dir, d.Name)
	return d.Device, nil
}

func (f *folder) Grow(context.Context, pool.Disk) error { return nil }

func (f *folder) Remembered(context.Context) (map[string]zfs.GUID, error) { return f.memory, nil }

func (f *folder) Remember(_ context.Context, name string, guid zfs.GUID) error {
	f.memory[name] = guid
	return nil
}

// TestVMDomain: the domain, on the real program, creates, imports, widens, replaces, and asks before it takes away.
func TestVMDomain(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	f := &folder{t: t, dir: t.TempDir(), memory: map[string]zfs.GUID{}}
	files(t, f.dir, "d1", "d2", "d3", "d4")
	r := pool.New(z, f, f, time.Now)
	spec := func(names ...string) pool.Spec {
		v := pool.VdevSpec{Layout: pool.Mirror}
		for _, n := range names {
			v.Disks = append(v.Disks, disk.Selector{Serial: n})
		}
		return pool.Spec{Pools: []pool.PoolSpec{{Name: "tank", Vdevs: []pool.VdevSpec{v}}}}
	}
	reach := func(s pool.Spec) (pool.Status, []string) {
		var done []string
		for range 20 {
			obs, err := r.Observe(ctx, s)
			must(t, err)
			ops := r.Diff(s, obs)
			if len(ops) == 0 && !obs.Pools[0].Scan.Resilvers() {
				return r.Status(s, obs), done
			}
			for _, o := range ops {
				must(t, r.Apply(ctx, s, o))
				done = append(done, string(o.Verb))
			}
			wait(t, "tank", "resilver")
		}
		t.Fatalf("it does not settle: %v", done)
		return pool.Status{}, nil
	}
	check := func(what string, s pool.Status, done []string, want ...pool.Verb) {
		t.Helper()
		var verbs []string
		for _, v := range want {
			verbs = append(verbs, string(v))
		}
		if d := cmp.Diff(verbs, done); d != "" || !s.Ready {
			t.Errorf("%s: %+v\n%s", what, s, d)
		}
	}
	s, done := reach(spec("d1", "d2"))
	check("create", s, done, pool.CreatePool, pool.Remember)
	if !s.Pools[0].Healthy || !strings.Contains(s.Pools[0].Picture, "mirror-0") {
		t.Errorf("%+v", s.Pools[0])
	}
	must(t, z.Export(ctx, "tank"))
	s, done = reach(spec("d1", "d2"))
	check("import", s, done, pool.ImportPool)
	s, done = reach(spec("d1", "d2", "d3"))
	check("attach", s, done, pool.AttachDevice)
	s, done = reach(spec("d1", "d2", "d4"))
	check("replace", s, done, pool.ReplaceDevice)
	wait(t, "tank", "replace")
	if l := readLabel(t, filepath.Join(f.dir, "d3")); !l.Former || l.PoolGUID != s.Pools[0].GUID {
		t.Errorf("the label of the device that was replaced: %+v", l)
	}
	less := spec("d1", "d2")
	s, done = reach(less)
	check("detach, not confirmed", s, done)
	if len(s.Pools[0].Waiting) != 1 {
		t.Fatalf("%+v", s.Pools[0])
	}
	less.Confirmed = []pool.Confirmation{{Pool: "tank", Operation: s.Pools[0].Waiting[0].String()}}
	s, done = reach(less)
	check("detach", s, done, pool.DetachDevice)
}
