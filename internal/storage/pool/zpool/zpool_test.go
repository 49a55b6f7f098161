package zpool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// The files of testdata are put together by hand after cmd/zpool/zpool_main.c of 2.3.9, for what no one pool has at once.
func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// program is a Runner with answers.
type program struct {
	t       *testing.T
	answers map[string]answer // by the first words of a command
	calls   []string
}

type answer struct {
	out string
	err error
}

func (p *program) Run(_ context.Context, args ...string) ([]byte, error) {
	call := strings.Join(args, " ")
	p.calls = append(p.calls, call)
	for prefix, a := range p.answers {
		if strings.HasPrefix(call, prefix) {
			return []byte(a.out), a.err
		}
	}
	return nil, nil
}

func TestPools(t *testing.T) {
	p := &program{t: t, answers: map[string]answer{"status": {out: string(read(t, "status.json"))}, "get": {out: string(read(t, "get.json"))}}}
	pools, err := New(p).Pools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(pools) != 2 || pools[0].Name != "bpool" || pools[1].Name != "tank" {
		t.Fatalf("pools: %+v", pools)
	}
	bpool, tank := pools[0], pools[1]
	if d := cmp.Diff([]any{zfs.GUID(15451357997522795478), pool.Degraded, uint64(3e12), uint64(126e10), uint64(174e10), 42, 7, false, uint64(2), "ZFS-8000-2Q", 2},
		[]any{tank.GUID, tank.State, tank.SizeBytes, tank.AllocatedBytes, tank.FreeBytes, tank.CapacityPercent, tank.FragmentationPercent, tank.ReadOnly, tank.DataErrors, tank.MessageID, len(tank.Errors)}); d != "" {
		t.Errorf("tank (-want +got):\n%s", d)
	}
	if !strings.HasPrefix(tank.Words, "One or more devices could not be opened. Sufficient") {
		t.Errorf("words: %q", tank.Words)
	}
	if d := cmp.Diff(map[string]string{"raidz_expansion": "enabled", "lz4_compress": "active"}, tank.Features()); d != "" {
		t.Errorf("features:\n%s", d)
	}
	if d := cmp.Diff(zfs.Property{Value: "12", Source: zfs.SourceLocal}, tank.Properties["ashift"]); d != "" {
		t.Errorf("ashift:\n%s", d)
	}
	if !bpool.ReadOnly || bpool.CapacityPercent != -1 {
		t.Errorf("bpool: %+v", bpool)
	}
	scan := pool.Scan{
		Function: pool.Resilver, Progress: pool.Running, Start: time.Unix(1790000000, 0).UTC(), TotalBytes: 900000, ScannedBytes: 600000, IssuedBytes: 450000, RepairedBytes: 5000,
		PassStart: time.Unix(1790000000, 0).UTC(), PassIssuedBytes: 450000,
	}
	if d := cmp.Diff(scan, tank.Scan); d != "" || tank.Scan.DonePercent() != 50 {
		t.Errorf("scan (-want +got):\n%s", d)
	}
	if bpool.Scan.Function != pool.Rebuild || bpool.Scan.Progress != pool.Finished || bpool.Scan.RepairedBytes != 40 {
		t.Errorf("a rebuild after a scrub: %+v", bpool.Scan)
	}
	expansion := &pool.Work{Progress: pool.Running, Vdev: "raidz1-1", Start: time.Unix(1789000000, 0).UTC(), DoneBytes: 1024, TotalBytes: 4096, Waits: true}
	if d := cmp.Diff(expansion, tank.Expansion); d != "" || tank.Removal == nil || tank.Removal.Progress != pool.Finished {
		t.Errorf("expansion (-want +got):\n%s", d)
	}
	if tank.Checkpoint == nil || tank.Checkpoint.SpaceBytes != 2048 || bpool.Checkpoint != nil {
		t.Errorf("checkpoint: %+v", tank.Checkpoint)
	}
	if d := cmp.Diff([]string{strings.Join(getOptions(), " "), strings.Join(guidOptions(), " "), strings.Join(statusOptions(), " ")}, p.calls); d != "" {
		t.Errorf("calls:\n%s", d)
	}
}

// TestFileThatIsNoASCII: the name of a file with errors that is no ASCII cuts the output off; the pools are read without such names then.
func TestFileThatIsNoASCII(t *testing.T) {
	whole := string(read(t, "status.json"))
	run := RunnerFunc(func(_ context.Context, args ...string) ([]byte, error) {
		switch {
		case args[0] == "get":
			return read(t, "get.json"), nil
		case slices.Contains(args, filesOption):
			return []byte(whole[:len(whole)/2] + "\n"), nil
		}
		return []byte(whole), nil
	})
	if pools, err := New(run).Pools(t.Context()); err != nil || len(pools) != 2 {
		t.Errorf("%d pools, %v", len(pools), err)
	}
}

// TestPropertyThatIsNoASCII: a user property that is no ASCII cuts the output off. It costs its pool those properties that nobody goes by, and the others nothing.
func TestPropertyThatIsNoASCII(t *testing.T) {
	whole := string(read(t, "get.json"))
	one := func(name, guid, property string) []byte {
		return fmt.Appendf(nil, `{"output_version":{"command":"zpool get"},"pools":{%q:{"name":%[1]q,"pool_guid":%s,"properties":{%q:{"value":"on"}}}}}`, name, guid, property)
	}
	all := strings.Join(getOptions(), " ")
	var calls []string
	run := RunnerFunc(func(_ context.Context, args ...string) ([]byte, error) {
		calls = append(calls, strings.Join(args, " "))
		switch call := strings.Join(args, " "); {
		case args[0] == "status":
			return read(t, "status.json"), nil
		case args[0] == "list":
			return read(t, "list.json"), nil
		case call == all, call == all+" tank":
			return []byte(whole[:len(whole)/2] + "\n"), nil
		case args[len(args)-1] == "tank":
			return one("tank", "15451357997522795478", "autotrim"), nil
		}
		return one("bpool", "7", "readonly"), nil
	})
	pools, err := New(run).Pools(t.Context())
	if err != nil || len(pools) != 2 || !pools[0].ReadOnly || pools[1].Properties["autotrim"].Value != "on" {
		t.Errorf("%+v, %v", pools, err)
	}
	want := []string{all, strings.Join(listOptions(), " "), all + " tank", strings.Join(ownOptions(), " ") + " tank", all + " bpool"}
	if d := cmp.Diff(want, calls[:min(len(want), len(calls))]); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
}

// outline is a tree in lines.
func outline(vs []pool.Vdev, depth int) []string {
	var out []string
	for _, v := range vs {
		out = append(out, fmt.Sprintf("%s%s %s %q %d %s %s", strings.Repeat(" ", depth), v.Name, v.Type, string(v.Class), v.GUID, v.State, v.Reason))
		out = append(out, outline(v.Children, depth+1)...)
	}
	return out
}

// TestTree: the order is zpool's, classes and states are those of package pool.
func TestTree(t *testing.T) {
	pools, err := parseStatus(read(t, "status.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`raidz1-1 raidz "" 21 ONLINE `, ` /dev/vdz1 disk "" 22 ONLINE `, ` /dev/vda1 disk "" 23 ONLINE `, ` /dev/vdb1 disk "" 24 ONLINE `,
		`mirror-0 mirror "" 11 DEGRADED `, ` /dev/vdc1 disk "" 12 ONLINE `, ` spare-1 spare "" 13 DEGRADED `, `  14 disk "" 14 UNAVAIL OPEN_FAILED`, `  /dev/vds1 disk "" 15 ONLINE `,
		`/dev/vde1 disk "special" 31 ONLINE `, `mirror-3 mirror "log" 41 ONLINE `, ` /dev/vdf1 disk "log" 42 ONLINE `, ` /dev/vdg1 disk "log" 43 FAULTED CORRUPT_DATA`,
		`/dev/vdh1 disk "cache" 51 ONLINE `, `/dev/vds1 disk "spare" 15 INUSE SPARED`, `/dev/vdt1 disk "spare" 62 AVAIL `,
	}
	if d := cmp.Diff(want, outline(pools[0].Vdevs, 0)); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
	gone := pools[0].Vdevs[1].Children[1].Children[0]
	if gone.Path != "/dev/vdd1" || gone.ReadErrors != 3 || gone.WriteErrors != 2 || gone.ChecksumErrors != 1 || gone.SlowIOs != 4 || !gone.TrimUnsupported {
		t.Errorf("a device that is gone: %+v", gone)
	}
	raidz := pools[0].Vdevs[0]
	if l, known := raidz.Layout(); l != pool.RAIDZ1 || !known || raidz.ExpandableBytes != 512 {
		t.Errorf("%s, %t, %d", l, known, raidz.ExpandableBytes)
	}
	if trim := raidz.Children[1].Trim; trim.Progress != pool.Running || trim.DonePercent() != 10 || trim.Start.IsZero() || !trim.End.IsZero() {
		t.Errorf("trim: %+v", trim)
	}
	if v := raidz.Children[2]; v.Trim.Progress != pool.Finished || v.Trim.End.IsZero() || v.ConfiguredShift != 9 || v.PhysicalShift != 12 {
		t.Errorf("%+v", v)
	}
}

// TestSamePath: two leaves with one path, and two spares in the same place of two mirrors, are told apart.
func TestSamePath(t *testing.T) {
	head := `{"output_version":{"command":"zpool status"},"pools":{"tank":{"name":"tank","pool_guid":15451357997522795478,"state":"DEGRADED","vdevs":{"tank":{"name":"tank","vdevs":{`
	leaf := func(name, guid, state string, more ...string) string {
		return fmt.Sprintf(`%q:{"name":%[1]q,"vdev_type":"disk","guid":%s,"path":"/dev/vdc1","state":%q%s}`, name, guid, state, strings.Join(more, ""))
	}
	group := func(name, kind, guid string, children ...string) string {
		return fmt.Sprintf(`%q:{"name":%[1]q,"vdev_type":%q,"guid":%s,"state":"DEGRADED","vdevs":{%s}}`, name, kind, guid, strings.Join(children, ","))
	}
	const tail = `}}}}}}`
	named := head + group("mirror-0", "mirror", "10", leaf("/dev/vdc1", "12", "REMOVED"), group("spare-1", "spare", "14", leaf("/dev/vdc1", "12", "REMOVED"))) + "," +
		group("mirror-1", "mirror", "20", group("spare-1", "spare", "14", leaf("24", "24", "CANT_OPEN", `,"was":"/dev/vdc1"`))) + tail
	byGUID := head + group("10", "mirror", "10", leaf("12", "12", "REMOVED"), group("14", "spare", "14", leaf("13", "13", "ONLINE"), leaf("15", "15", "ONLINE"))) + "," +
		group("20", "mirror", "20", leaf("21", "21", "ONLINE"), group("22", "spare", "22", leaf("24", "24", "CANT_OPEN", `,"was":"/dev/vdc1"`), leaf("25", "25", "ONLINE"))) + tail
	p := &program{t: t, answers: map[string]answer{
		strings.Join(statusOptions(), " "): {out: named}, strings.Join(guidOptions(), " "): {out: byGUID}, "get": {out: string(read(t, "get.json"))},
	}}
	pools, err := New(p).Pools(t.Context())
	if err != nil || len(pools) != 1 {
		t.Fatalf("%+v, %v", pools, err)
	}
	want := []string{
		`mirror-0 mirror "" 10 DEGRADED `, ` /dev/vdc1 disk "" 12 REMOVED `, ` spare-1 spare "" 14 DEGRADED `, `  /dev/vdc1 disk "" 13 ONLINE `, `  /dev/vdc1 disk "" 15 ONLINE `,
		`mirror-1 mirror "" 20 DEGRADED `, ` /dev/vdc1 disk "" 21 ONLINE `, ` spare-1 spare "" 22 DEGRADED `, `  24 disk "" 24 UNAVAIL OPEN_FAILED`, `  /dev/vdc1 disk "" 25 ONLINE `,
	}
	if d := cmp.Diff(want, outline(pools[0].Vdevs, 0)); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
	if len(p.calls) != 3 {
		t.Errorf("calls: %q", p.calls)
	}
	// A mirror that came between the two looks has its name in the next.
	p.calls, p.answers[strings.Join(statusOptions(), " ")] = nil, answer{out: strings.ReplaceAll(named, `"guid":20`, `"guid":26`)}
	if _, err := New(p).Pools(t.Context()); err != nil || len(p.calls) != 1+2*looks {
		t.Errorf("%v, calls: %q", err, p.calls)
	}
}

func TestBadJSON(t *testing.T) {
	for _, text := range []string{
		`{`, `[]`, `{"output_version":{"command":"zpool get","vers_major":0},"pools":{}}`, `{"output_version":{"command":"zpool status","vers_major":1},"pools":{}}`,
		`{"output_version":{"command":"zpool status"},"pools":[]}`, `{"output_version":{"command":"zpool status"},"pools":{"a":{}}}`,
		`{"output_version":{"command":"zpool status"},"pools":{"a":{"name":"a","pool_guid":"x"}}}`,
		`{"output_version":{"command":"zpool status"},"pools":{"a":{"name":"a","vdevs":{"a":{"vdevs":7}}}}}`, strings.Repeat(`{"a":`, 100),
	} {
		if pools, err := parseStatus([]byte(text)); err == nil || !strings.Contains(err.Error(), "read the output of zpool status") {
			t.Errorf("%s gives %+v, %v", text, pools, err)
		}
	}
	if pools, err := parseStatus(nil); err != nil || pools != nil {
		t.Errorf("nothing gives %+v, %v", pools, err)
	}
	// Without --json-int, numbers are texts.
	pools, err := parseStatus([]byte(`{"output_version":{"command":"zpool status"},"pools":{"a":{"name":"a","pool_guid":"18446744073709551615","error_count":"-"}}}`))
	if err != nil || pools[0].GUID != 1<<64-1 || pools[0].DataErrors != 0 {
		t.Errorf("%+v, %v", pools, err)
	}
}

func TestParseList(t *testing.T) {
	sizes, err := parseList(read(t, "list.json"))
	want := []Size{
		{"tank", 15451357997522795478, pool.Degraded, 3e12, 126e10, 174e10, 512, 42, 7},
		{"bpool", 7, pool.Online, 100, 1, 99, 0, -1, -1},
	}
	if d := cmp.Diff(want, sizes); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
}

func TestSize(t *testing.T) {
	one := `{"output_version":{"command":"zpool list"},"pools":{"tank":{"name":"tank","state":"ONLINE","pool_guid":7,"properties":{"size":{"value":100}}}}}`
	gone := errors.New("run zpool list: exit status 1: cannot open 'tank': no such pool")
	whole := Size{Name: "tank", GUID: 7, State: pool.Online, SizeBytes: 100, CapacityPercent: -1, FragmentationPercent: -1}
	untold := whole
	untold.SizeBytes = 0
	for name, c := range map[string]struct {
		answer answer
		want   Size
		err    error
	}{
		"there":       {answer{out: one}, whole, nil},
		"gone":        {answer{err: gone}, Size{}, zfs.ErrNotExist},
		"nothing":     {answer{}, Size{}, zfs.ErrNotExist},
		"another":     {answer{out: strings.ReplaceAll(one, `"tank"`, `"bpool"`)}, Size{}, zfs.ErrNotExist},
		"unavailable": {answer{out: strings.Replace(one, `"value":100`, `"value":"-"`, 1)}, untold, nil},
	} {
		p := &program{t: t, answers: map[string]answer{"list": c.answer}}
		got, err := New(RunnerFunc(p.Run)).Size(t.Context(), "tank")
		if d := cmp.Diff(c.want, got); !errors.Is(err, c.err) || d != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
		if d := cmp.Diff([]string{strings.Join(listOptions(), " ") + " tank"}, p.calls); d != "" {
			t.Errorf("%s: calls:\n%s", name, d)
		}
	}
}

// TestLeftInMemory: what zpool prints before the features of a pool, by mistake, is none of them, and does not hide the first.
func TestLeftInMemory(t *testing.T) {
	for _, left := range []string{"", "\x10\xfe\x7f", "\xc0org.example:left", "two\nlines ", "a\tb"} {
		text := "  pool: newer\n    id: 4\n state: UNAVAIL\nstatus: The pool uses the following feature(s) not supported on this system:\n" + left +
			"\tcom.example:silent\n\torg.example:other (Words.)\naction: The pool cannot be imported.\nconfig:\n\n\tnewer  UNAVAIL  unsupported feature(s)\n\t  vdb1  ONLINE\n"
		got, err := parseImportable([]byte(text))
		if err != nil || len(got) != 1 || got[0].Problem != pool.Newer || len(got[0].Vdevs) != 1 {
			t.Errorf("behind %q: %+v, %v", left, got, err)
			continue
		}
		if want := []string{"com.example:silent", "org.example:other"}; !slices.Equal(got[0].Features, want) {
			t.Errorf("behind %q: features %q, want %q", left, got[0].Features, want)
		}
	}
}

func TestImportable(t *testing.T) {
	p := &program{t: t, answers: map[string]answer{
		"import -d": {out: string(read(t, "import.txt"))},
		"import -D": {err: errors.New("run zpool import: exit status 1: no pools available to import")},
	}}
	got, err := New(p).Importable(t.Context(), []string{"/dev/vdb1", "/srv"})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, i := range got {
		lines = append(lines, fmt.Sprintf("%s %d %s %q %v %v %q", i.Name, i.GUID, i.State, i.Problem, i.Features, i.Missing, i.Comment))
		if i.Claimed {
			lines = append(lines, " claimed")
		}
		if len(i.LostLogs) > 0 {
			lines = append(lines, fmt.Sprintf(" without its logs %q", i.LostLogs))
		}
	}
	want := []string{
		`tank 15451357997522795478 ONLINE "" [] [] ""`,
		`moved 2 DEGRADED "last used by another system" [] [1234567890123456789] ""`, ` claimed`,
		`busy 3 UNAVAIL "imported by another system" [] [] ""`,
		`newer 4 UNAVAIL "newer than this system's ZFS" [org.example:time_travel com.example:silent] [] "made elsewhere"`,
		`readable 5 UNAVAIL "newer than this system's ZFS, which can read it only" [org.example:log_only] [] ""`,
		`half 6 UNAVAIL "devices are missing" [] [vdn1 vdo1] ""`,
		`tank 7 FAULTED "damaged" [] [] ""`,
		`nolog 8 DEGRADED "" [] [vds1 vdt1] ""`, ` without its logs ["mirror-1"]`,
		`resilvering 9 DEGRADED "" [] [] ""`, `moved half 10 UNAVAIL "devices are missing" [] [vdw1 vdx1] ""`, ` claimed`,
		`moved broken 11 FAULTED "damaged" [] [] ""`, ` claimed`, `resilvering half 12 UNAVAIL "devices are missing" [] [vdz1] ""`,
		`resilvering elsewhere 13 UNAVAIL "imported by another system" [] [] ""`, `moved newer 14 UNAVAIL "newer than this system's ZFS" [] [] ""`, ` claimed`,
	}
	if d := cmp.Diff(want, lines); d != "" {
		t.Errorf("pools (-want +got):\n%s", d)
	}
	tree := []string{
		`raidz1-0 raidz "" 0 ONLINE `, ` vdb1 disk "" 0 ONLINE `, ` vdc1 disk "" 0 ONLINE `, `vde1 disk "cache" 0  `, `vdf1 disk "spare" 0  `,
		`mirror-1 mirror "special" 0 ONLINE `, ` vdg1 disk "special" 0 ONLINE `, ` vdh1 disk "special" 0 ONLINE `, `vdd1 disk "log" 0 ONLINE `,
	}
	if d := cmp.Diff(tree, outline(got[0].Vdevs, 0)); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"import -d /dev/vdb1 -d /srv", "import -D -d /dev/vdb1 -d /srv"}, p.calls); d != "" {
		t.Errorf("calls:\n%s", d)
	}
	if _, err := New(p).Importable(t.Context(), []string{"-D"}); !errors.Is(err, zfs.ErrInvalid) {
		t.Errorf("a device that looks like an option: %v", err)
	}
	if _, err := New(p).Importable(t.Context(), nil); !errors.Is(err, zfs.ErrInvalid) {
		t.Errorf("no device: %v", err)
	}
	destroyed, err := parseImportable([]byte("   pool: old\n     id: 9\n  state: ONLINE (DESTROYED)\n action: The pool can be imported using its name or numeric identifier.\n config:\n\n\told  ONLINE\n"))
	if err != nil || len(destroyed) != 1 || !destroyed[0].Destroyed || destroyed[0].State != pool.Online {
		t.Errorf("%+v, %v", destroyed, err)
	}
	for _, text := range []string{"     id: 9\n", "   pool: a\n     id: x\n"} {
		if _, err := parseImportable([]byte(text)); err == nil {
			t.Errorf("%q passes", text)
		}
	}
}

func TestRewindDryRun(t *testing.T) {
	failed := errors.New("run zpool import: exit status 1")
	text := "Would be able to return tank to its state as of Thu Nov 26 12:00:00 2026.\nWould discard approximately 5 minutes of transactions.\n"
	p := &program{t: t, answers: map[string]answer{"import": {out: text, err: failed}}}
	got, err := New(p).RewindDryRun(t.Context(), 7, []string{"/dev/vdb1"})
	if err != nil || !got.Possible || got.Lost != 5*time.Minute || !strings.Contains(got.Words, "as of Thu Nov 26 12:00:00 2026. Would discard") {
		t.Errorf("%+v, %v", got, err)
	}
	if want := "import -N -F -n -o cachefile=none -o readonly=on -d /dev/vdb1 7"; p.calls[0] != want {
		t.Errorf("called %q", p.calls)
	}
	p = &program{t: t, answers: map[string]answer{"import": {err: failed}}}
	if got, err = New(p).RewindDryRun(t.Context(), 7, []string{"/dev/vdb1"}); err != nil || got.Possible || got.Words == "" {
		t.Errorf("%+v, %v", got, err)
	}
	// Another system had it last, which is told of no damaged pool: the dry run is forced then, and so has the import to be.
	calls := 0
	z := New(RunnerFunc(func(_ context.Context, args ...string) ([]byte, error) {
		calls++
		if !slices.Contains(args, "-f") {
			return nil, errors.New("run zpool import: exit status 1: cannot import 'back': pool was previously in use from another system")
		}
		return []byte(text), failed
	}))
	if got, err = z.RewindDryRun(t.Context(), 7, []string{"/dev/vdb1"}); err != nil || !got.Possible || !got.Claimed || calls != 2 {
		t.Errorf("%+v, %v, %d calls", got, err, calls)
	}
	// It was imported, as nothing was wrong: it is exported again.
	p = &program{t: t, answers: map[string]answer{"status": {out: string(read(t, "status.json"))}, "get": {out: string(read(t, "get.json"))}}}
	if got, err = New(p).RewindDryRun(t.Context(), 7, []string{"/dev/vdb1"}); err != nil || !got.Possible || p.calls[len(p.calls)-1] != "export bpool" {
		t.Errorf("%+v, %v, %q", got, err, p.calls)
	}
}

func TestCommands(t *testing.T) {
	p := &program{t: t}
	z := New(p)
	ctx := t.Context()
	groups := []pool.Group{
		{Class: pool.Log, Layout: pool.Mirror, Devices: []string{"/dev/e", "/dev/f"}}, {Class: pool.Log, Devices: []string{"/dev/g"}}, {Class: pool.Spare, Devices: []string{"/dev/h"}},
		{Class: pool.Spare, Devices: []string{"/dev/i"}}, {Layout: pool.RAIDZ2, Devices: []string{"/dev/a", "/dev/b", "/dev/c"}}, {Devices: []string{"/dev/d"}}, {Class: pool.Cache, Devices: []string{"/dev/j"}},
	}
	for _, err := range []error{
		z.Create(ctx, pool.Creation{Pool: "tank", Groups: groups, Properties: map[string]string{"b": "2", "a": "1"}, FileSystem: map[string]string{"mountpoint": "none"}}),
		z.Import(ctx, pool.Import{GUID: 7, Name: "tank", Devices: []string{"/dev/a"}, ReadOnly: true, Force: true, Rewind: true, WithoutLog: true}), z.Import(ctx, pool.Import{GUID: 7, Devices: []string{"/dev/a"}}),
		z.Export(ctx, "tank"), z.Destroy(ctx, "tank"), z.Set(ctx, "tank", "comment", ""), z.SetPath(ctx, "tank", "13", "/dev/z"), z.Add(ctx, "tank", groups[:1]), z.Attach(ctx, "tank", "raidz1-0", "/dev/z"),
		z.Detach(ctx, "tank", "13"), z.Replace(ctx, "tank", "13", "/dev/z"), z.Remove(ctx, "tank", "mirror-1"), z.Offline(ctx, "tank", "13", true), z.Offline(ctx, "tank", "13", false), z.OfflineForNow(ctx, "tank", "13"),
		z.Online(ctx, "tank", "13", true), z.Online(ctx, "tank", "13", false), z.Clear(ctx, "tank", ""), z.Clear(ctx, "tank", "13"), z.Scrub(ctx, "tank"), z.PauseScrub(ctx, "tank"), z.StopScrub(ctx, "tank"),
		z.Trim(ctx, "tank"), z.SuspendTrim(ctx, "tank"), z.CancelTrim(ctx, "tank"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"create -f -o cachefile=none -o a=1 -o b=2 -O mountpoint=none tank /dev/d raidz2 /dev/a /dev/b /dev/c log /dev/g mirror /dev/e /dev/f cache /dev/j spare /dev/h /dev/i",
		"import -N -o cachefile=none -o readonly=on -f -m -F -d /dev/a 7 tank", "import -N -o cachefile=none -d /dev/a 7", "export tank", "destroy tank", "set comment= tank", "set path=/dev/z tank 13",
		"add --allow-replication-mismatch tank log mirror /dev/e /dev/f", "attach tank raidz1-0 /dev/z", "detach tank 13", "replace tank 13 /dev/z", "remove tank mirror-1", "offline -f tank 13", "offline tank 13", "offline -t tank 13",
		"online -e tank 13", "online tank 13", "clear tank", "clear tank 13", "scrub tank", "scrub -p tank", "scrub -s tank", "trim tank", "trim -s tank", "trim -c tank",
	}
	if d := cmp.Diff(want, p.calls); d != "" {
		t.Errorf("commands (-want +got):\n%s", d)
	}
	for _, name := range []string{"", "-f", "a\nb"} {
		if err := z.Destroy(ctx, name); !errors.Is(err, zfs.ErrInvalid) {
			t.Errorf("destroy %q: %v", name, err)
		}
	}
}

// TestStaysOut: zpool online ends well also where the device is out of use behind it.
func TestStaysOut(t *testing.T) {
	for name, c := range map[string]struct {
		answer answer
		want   error
	}{
		"in use": {answer{}, nil},
		"gone":   {answer{out: "warning: device '13' onlined, but remains in faulted state\nuse 'zpool replace' to replace devices that are no longer present\n"}, pool.ErrStaysOut},
		"gone, and not grown": {answer{out: "warning: device '13' onlined, but remains in faulted state\nerror: failed to expand usable space on unhealthy device '13'\n",
			err: errors.New("run zpool online: exit status 1")}, pool.ErrStaysOut},
	} {
		z := New(&program{t: t, answers: map[string]answer{"online": c.answer}})
		if err := z.Online(t.Context(), "tank", "13", false); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]error{
		"cannot open 'x': no such pool":                                           zfs.ErrNotExist,
		"cannot offline /dev/z: no such device in pool":                           zfs.ErrNotExist,
		`couldn't find device "/dev/z" in pool "tank"`:                            zfs.ErrNotExist,
		"cannot find '13' in 'tank': device not in pool":                          zfs.ErrNotExist,
		"cannot online 13: device is reserved as a hot spare":                     zfs.ErrInvalid,
		"cannot create 'tank': pool already exists":                               zfs.ErrExist,
		"cannot import 'tank': a pool with that name is already created/imported": zfs.ErrExist,
		"cannot export 'tank': pool is busy":                                      zfs.ErrBusy,
		"cannot scrub tank: currently resilvering":                                zfs.ErrBusy,
		"cannot remove b: removal for this vdev is already in progress.":          zfs.ErrBusy,
		"cannot remove c: Pool busy; removal may already be in progress":          zfs.ErrBusy,
		"cannot replace /dev/a with /dev/b: device is too small":                  pool.ErrTooSmall,
		"cannot offline 13: no valid replicas":                                    pool.ErrLastCopy,
		"cannot import 'tank': pool was previously in use from another system.":   pool.ErrUsedElsewhere,
		"cannot import 'tank': pool is imported on a (hostid: 0x1)":               pool.ErrInUseElsewhere,
		"cannot import 'tank': unsupported version or feature":                    pool.ErrNewer,
		"cannot clear errors for tank: pool I/O is currently suspended":           zfs.ErrSuspended,
		"cannot set property for 'tank': pool is read-only":                       zfs.ErrReadOnly,
		"invalid vdev specification":                                              zfs.ErrInvalid,
	} {
		said := fmt.Errorf("run zpool: exit status 1: %s", text)
		z := New(&program{t: t, answers: map[string]answer{"clear": {err: said}}})
		if err := z.Clear(t.Context(), "tank", ""); !errors.Is(err, want) || !errors.Is(err, said) {
			t.Errorf("%q is %v", text, err)
		}
	}
	// A pool may be called as an error is.
	said := errors.New("run zpool clear a pool is busy: exit status 1: cannot clear errors for a pool is busy: something new")
	z := New(&program{t: t, answers: map[string]answer{"clear": {err: said}}})
	if err := z.Clear(t.Context(), "a pool is busy", ""); !errors.Is(err, said) || errors.Is(err, zfs.ErrBusy) {
		t.Errorf("got %v", err)
	}
}
