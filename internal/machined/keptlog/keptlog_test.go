package keptlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/ringlog"
	"github.com/cyvive/cyvive/internal/machined/supervise/logring"
)

// node is one with a volume that stays, and rings that are new in each boot.
type node struct {
	t      *testing.T
	volume string
	run    string
	free   uint64
	kernel Kernel
}

func newNode(t *testing.T) *node {
	t.Helper()
	return &node{t: t, volume: filepath.Join(t.TempDir(), "log", "services"), run: t.TempDir(), free: 1 << 40}
}

// reboot takes away what is in memory.
func (n *node) reboot() { n.run = n.t.TempDir() }

// agent returns the store of an agent that has begun.
func (n *node) agent(boot string, before ...string) *Store {
	n.t.Helper()
	s := New(Config{
		Dir: n.volume, Places: filepath.Join(n.run, "places.json"), Boot: boot, Kernel: n.kernel,
		Rings: []Ring{
			{Source: ringlog.Source{Dir: filepath.Join(n.run, "log")}, MaxLogs: 3},
			{Source: ringlog.Source{Dir: filepath.Join(n.run, "plane", "log"), Within: filepath.Join(n.run, "plane"), Prefix: "plane/"}, MaxLogs: 2},
		},
		Free: func(string) (uint64, error) { return n.free, nil },
	})
	if err := s.Begin(before); err != nil {
		n.t.Fatal(err)
	}
	return s
}

// ring opens a ring as init does, of a size that a test can fill.
func (n *node) ring(name string) *logring.Writer {
	n.t.Helper()
	dir, file := filepath.Join(n.run, "log"), name
	if rest, ok := strings.CutPrefix(name, "plane/"); ok {
		dir, file = filepath.Join(n.run, "plane", "log"), rest
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		n.t.Fatal(err)
	}
	w, err := logring.Open(filepath.Join(dir, file+".log"), 1<<20)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { w.Close() })
	return w
}

func (n *node) write(w *logring.Writer, text string) {
	n.t.Helper()
	if _, err := w.Write([]byte(text)); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) keep(s *Store) {
	n.t.Helper()
	if err := s.Keep(); err != nil {
		n.t.Fatal(err)
	}
}

// past reads a log of the boot before, and what is said to be missing.
func (n *node) past(s *Store, service string, tail int) (lines []string, lacks string) {
	n.t.Helper()
	err := s.PastLog(n.t.Context(), service, tail, func(what string) { lacks = what }, func(line []byte) error {
		lines = append(lines, string(line))
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return lines, lacks
}

// kept is the text of a log of the running boot, as it lies on the volume.
func (n *node) kept(boot, service string) string {
	n.t.Helper()
	var text []byte
	for _, suffix := range []string{".log.1", ".log"} {
		data, err := os.ReadFile(filepath.Join(n.volume, boot, service+suffix))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			n.t.Fatal(err)
		}
		text = append(text, data...)
	}
	return string(text)
}

// TestOverABoot: what services wrote is there after the end of the boot, by the names that they had, until the boot after the next one.
func TestOverABoot(t *testing.T) {
	n := newNode(t)
	first := n.agent("boot-1")
	etcd, kubelet := n.ring("etcd"), n.ring("plane/kubelet")
	n.write(etcd, "one\ntwo\n")
	n.keep(first)
	n.write(etcd, "three\nthe end")
	n.write(kubelet, "four\n")
	if err := first.End(true); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(n.volume); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v; want it for root alone", info, err)
	}

	n.reboot()
	second := n.agent("boot-2", "boot-1")
	n.write(n.ring("etcd"), "now\n")
	n.keep(second)
	for _, c := range []struct {
		service string
		tail    int
		want    []string
	}{
		{"etcd", -1, []string{"one", "two", "three", "the end"}}, {"etcd", 1, []string{"the end"}}, {"plane/kubelet", -1, []string{"four"}}, {"kubelet", -1, []string{"four"}},
	} {
		if got, lacks := n.past(second, c.service, c.tail); !slices.Equal(got, c.want) || lacks != "" {
			t.Errorf("%s, tail %d: got %q, lacking %q; want %q", c.service, c.tail, got, lacks, c.want)
		}
	}
	if got, err := second.PastServices(t.Context()); err != nil || !slices.Equal(got, []string{"etcd", "plane/kubelet"}) {
		t.Errorf("services: got %q, %v", got, err)
	}
	err := second.PastLog(t.Context(), "nosuch", -1, func(string) {}, nil)
	if !errors.Is(err, server.ErrNotFound) || !strings.Contains(err.Error(), "plane/kubelet") {
		t.Errorf("an unknown service: got %v, want ErrNotFound that lists the logs", err)
	}

	// The second boot ends without warning.
	n.reboot()
	third := n.agent("boot-3", "boot-2", "boot-1")
	if got, lacks := n.past(third, "etcd", -1); !slices.Equal(got, []string{"now"}) || !strings.Contains(lacks, "boot-2 were not ended in order") {
		t.Errorf("after a power cut: got %q, lacking %q", got, lacks)
	}
	if _, err := os.Stat(filepath.Join(n.volume, "boot-1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the logs of the boot before that one are left: %v", err)
	}
}

// TestWhatIsRead: which boot it is of, and why there is nothing.
func TestWhatIsRead(t *testing.T) {
	n := newNode(t)
	s := New(Config{Dir: n.volume, Boot: "boot-1"})
	for _, c := range []struct {
		begin bool
		want  error
	}{{false, server.ErrUnavailable}, {true, server.ErrNotFound}} {
		if c.begin {
			s = n.agent("boot-1")
		}
		_, err := s.PastServices(t.Context())
		if logErr := s.PastLog(t.Context(), "etcd", -1, func(string) {}, nil); !errors.Is(err, c.want) || !errors.Is(logErr, c.want) {
			t.Errorf("begun %t: got %v and %v, want %v", c.begin, err, logErr, c.want)
		}
	}
	n.write(n.ring("etcd"), "one\n")
	if err := s.End(true); err != nil {
		t.Fatal(err)
	}
	// Boot 2 has not come to its data volume, and boot 3 left no entry in the ledger.
	n.reboot()
	fourth := n.agent("boot-4", "", "boot-2", "boot-1", "boot-0")
	if got, lacks := n.past(fourth, "etcd", -1); !slices.Equal(got, []string{"one"}) || !strings.Contains(lacks, "these are of boot boot-1") || strings.Contains(lacks, "in order") {
		t.Errorf("got %q, lacking %q", got, lacks)
	}
	// A ledger that does not know a boot: its logs are nobody's.
	n.reboot()
	fifth := n.agent("boot-5", "boot-2")
	if _, err := fifth.PastServices(t.Context()); !errors.Is(err, server.ErrNotFound) || !strings.Contains(err.Error(), "boot boot-2 kept none") {
		t.Errorf("got %v, want ErrNotFound that says of which boot", err)
	}
	entries, err := os.ReadDir(n.volume)
	if err != nil || len(entries) != 1 {
		t.Errorf("left on the volume: %v, %v", entries, err)
	}
}

// TestAgentsFollowEachOther: agents that are started again in a boot go on where the one before stopped, and lose nothing and copy nothing twice, also where
// the ring turned between them.
func TestAgentsFollowEachOther(t *testing.T) {
	n := newNode(t)
	etcd := n.ring("etcd")
	var want strings.Builder
	line := strings.Repeat("x", 1000)
	for i := range 40 {
		s := n.agent("boot-1")
		for j := range 60 {
			text := fmt.Sprintf("%d %d %s\n", i, j, line)
			want.WriteString(text)
			n.write(etcd, text)
			if j == 30 && i%2 == 0 {
				n.keep(s)
			}
		}
		if err := s.End(false); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(n.run, "log", "etcd.log.1")); err != nil {
		t.Fatalf("the ring has not turned: %v", err)
	}
	got := n.kept("boot-1", "etcd")
	if !strings.HasSuffix(want.String(), got) || len(got) < fileBytes/2 {
		t.Errorf("%d bytes are kept, and they are not the newest of %d that were written", len(got), want.Len())
	}
}

// TestCutAnywhere: wherever a power cut left the end of a log, the lines before are read; and an agent that was killed in a write is followed by one
// whose lines are whole.
func TestCutAnywhere(t *testing.T) {
	n := newNode(t)
	s := n.agent("boot-1")
	etcd := n.ring("etcd")
	n.write(etcd, "one\ntwo\nthree\n")
	n.keep(s)
	path := filepath.Join(n.volume, "boot-1", "etcd.log")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	places, err := os.ReadFile(filepath.Join(n.run, "places.json"))
	if err != nil {
		t.Fatal(err)
	}
	for end := range len(whole) + 1 {
		cut := whole[:end]
		if err := os.WriteFile(path, cut, 0o640); err != nil {
			t.Fatal(err)
		}
		// The same boot, another agent: it knows of the three lines only, and a fourth comes.
		if err := os.WriteFile(filepath.Join(n.run, "places.json"), places, 0o600); err != nil {
			t.Fatal(err)
		}
		n.write(etcd, fmt.Sprintf("line %d\n", end))
		again := n.agent("boot-1")
		n.keep(again)
		got := n.kept("boot-1", "etcd")
		want := string(cut)
		if want != "" && !strings.HasSuffix(want, "\n") {
			want += "\n"
		}
		if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, fmt.Sprintf("\nline %d\n", end)) && got != fmt.Sprintf("line %d\n", end) {
			t.Errorf("cut at %d: got %q", end, got)
		}
		// Another boot.
		if err := os.WriteFile(path, cut, 0o640); err != nil {
			t.Fatal(err)
		}
		other := New(Config{Dir: n.volume, Places: filepath.Join(t.TempDir(), "places.json"), Boot: "boot-2", Rings: again.cfg.Rings, Free: again.cfg.Free})
		if err := other.Begin([]string{"boot-1"}); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range bytes.Lines(cut) {
			lines = append(lines, strings.TrimSuffix(string(line), "\n"))
		}
		if got, lacks := n.past(other, "etcd", -1); !slices.Equal(got, lines) || lacks == "" {
			t.Errorf("cut at %d: the next boot reads %q, lacking %q; want %q", end, got, lacks, lines)
		}
		if err := os.RemoveAll(filepath.Join(n.volume, "boot-2")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamagedPlaces: an agent that cannot read how far an earlier one came begins with what the rings have.
func TestDamagedPlaces(t *testing.T) {
	for _, damage := range []string{"", "{", "null", "[1]", `{"etcd":{"inode":1,"offset":-5}}`, `{"etcd":7}`} {
		n := newNode(t)
		n.write(n.ring("etcd"), "one\n")
		if err := os.WriteFile(filepath.Join(n.run, "places.json"), []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		n.keep(n.agent("boot-1"))
		if got := n.kept("boot-1", "etcd"); !strings.HasSuffix(got, "one\n") {
			t.Errorf("%q: kept %q", damage, got)
		}
	}
}

// sizeOf is how much lies in a folder.
func sizeOf(t *testing.T, dir string) (size int64, files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size, files = size+info.Size(), append(files, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return size, files
}

// TestBounds: a service that writes without end has the newest of it kept and no more, says where something is missing, and costs no more in a pass than any.
func TestBounds(t *testing.T) {
	n := newNode(t)
	s := n.agent("boot-1")
	etcd := n.ring("etcd")
	line := strings.Repeat("y", 1<<10)
	for pass := range 10 {
		before, _ := sizeOf(t, n.volume)
		for i := range 1 << 10 {
			n.write(etcd, fmt.Sprintf("%d %d %s\n", pass, i, line))
		}
		n.keep(s)
		after, _ := sizeOf(t, n.volume)
		if after-before > passBytes+int64(len(gap)) {
			t.Errorf("pass %d has written %d bytes, more than %d", pass, after-before, passBytes)
		}
	}
	size, files := sizeOf(t, n.volume)
	if size > 2*fileBytes || size < fileBytes/2 || len(files) != 2 {
		t.Errorf("%d bytes are kept, in %q; want no more than %d, and not much less, in two files", size, files, 2*fileBytes)
	}
	got := n.kept("boot-1", "etcd")
	if !strings.HasSuffix(got, "9 1023 "+line+"\n") || !strings.Contains(got, gap) {
		t.Errorf("the log ends with %q, or tells of no gap", got[max(0, len(got)-40):])
	}
	for l := range strings.Lines(got) {
		if l != gap && !strings.HasSuffix(l, line+"\n") {
			t.Errorf("a line that is not whole: %.60q", l)
		}
	}
}

// TestJunk: root in the plane makes as many logs as it likes, of any names, and has no more kept than two, and none of the node's own crowded out.
func TestJunk(t *testing.T) {
	n := newNode(t)
	s := n.agent("boot-1")
	n.write(n.ring("plane/kubelet"), "kubelet\n")
	n.keep(s)
	for round := range 3 {
		for i := range 20 {
			n.write(n.ring(fmt.Sprintf("plane/junk%d-%d", round, i)), "junk\n")
		}
		for _, name := range []string{"plane/UPPER", "plane/with space", "plane/.hidden", "plane/" + strings.Repeat("l", 200)} {
			n.write(n.ring(name), "junk\n")
		}
		if err := os.Symlink("/etc/passwd", filepath.Join(n.run, "plane", "log", fmt.Sprintf("a%d.log", round))); err != nil {
			t.Fatal(err)
		}
		n.keep(s)
		s = n.agent("boot-1") // the bound outlasts an agent
	}
	n.write(n.ring("etcd"), "etcd\n")
	n.write(n.ring("plane/kubelet"), "more\n")
	n.keep(s)
	_, files := sizeOf(t, filepath.Join(n.volume, "boot-1"))
	slices.Sort(files)
	if diff := cmp.Diff([]string{"etcd.log", "plane/junk0-0.log", "plane/kubelet.log"}, files); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	if got := n.kept("boot-1", "plane/kubelet"); got != "kubelet\nmore\n" {
		t.Errorf("the kubelet's log: %q", got)
	}
}

// TestLittleRoom: the last of a volume is left to others, and once there is more, what the rings have still is kept.
func TestLittleRoom(t *testing.T) {
	n := newNode(t)
	s := n.agent("boot-1")
	etcd := n.ring("etcd")
	n.write(etcd, "one\n")
	n.free = reserveBytes - 1
	if err := s.Keep(); !errors.Is(err, ErrNoRoom) {
		t.Errorf("got %v, want %v", err, ErrNoRoom)
	}
	if err := s.End(true); !errors.Is(err, ErrNoRoom) {
		t.Errorf("at the end: got %v, want %v", err, ErrNoRoom)
	}
	if _, files := sizeOf(t, n.volume); len(files) != 0 {
		t.Errorf("written all the same: %q", files)
	}
	n.free = reserveBytes
	n.write(etcd, "two\n")
	n.keep(s)
	if got := n.kept("boot-1", "etcd"); got != "one\ntwo\n" {
		t.Errorf("kept %q", got)
	}
}

// TestReadWithoutRoom: a volume that takes no folder any more, as one without an inode left, still gives what the boot before left on it.
func TestReadWithoutRoom(t *testing.T) {
	n := newNode(t)
	first := n.agent("boot-1")
	n.write(n.ring("etcd"), "one\n")
	if err := first.End(true); err != nil {
		t.Fatal(err)
	}
	n.reboot()
	if err := os.WriteFile(filepath.Join(n.volume, "boot-2"), nil, 0o600); err != nil { // in the place of the folder
		t.Fatal(err)
	}
	second := New(Config{Dir: n.volume, Places: filepath.Join(n.run, "places.json"), Boot: "boot-2", Rings: first.cfg.Rings, Free: first.cfg.Free})
	if err := second.Begin([]string{"boot-1"}); err == nil {
		t.Error("the folder was made")
	}
	if got, lacks := n.past(second, "etcd", -1); !slices.Equal(got, []string{"one"}) || lacks != "" {
		t.Errorf("got %q, lacking %q", got, lacks)
	}
	if err := second.Keep(); err != nil {
		t.Errorf("nothing was begun: got %v", err)
	}
}

// TestOneLogIsNoTrouble: one that cannot be written keeps no other from being kept.
func TestOneLogIsNoTrouble(t *testing.T) {
	n := newNode(t)
	s := n.agent("boot-1")
	if err := os.Mkdir(filepath.Join(n.volume, "boot-1", "containerd.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	n.write(n.ring("containerd"), "one\n")
	n.write(n.ring("etcd"), "two\n")
	if err := s.Keep(); err == nil || !strings.Contains(err.Error(), "keep log containerd") {
		t.Errorf("got %v, want an error that names the log", err)
	}
	if got := n.kept("boot-1", "etcd"); got != "two\n" {
		t.Errorf("kept %q", got)
	}
}
