package command

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// onePatternOf is of how many patterns one is provoked in make test.
const onePatternOf = 8

// TestVMPatterns provokes patterns of the table with a real error: with LONG=1 every one, else a few.
func TestVMPatterns(t *testing.T) {
	newLab(t) // a skip is for the whole test
	cases := datasetCases()
	for text, provoke := range streamCases() {
		cases[text] = provoke
	}
	for i, p := range patterns() {
		provoke, ok := cases[p.text]
		delete(cases, p.text)
		if !ok {
			t.Errorf("nothing provokes %q", p.text)
			continue
		}
		if !long() && i%onePatternOf != 0 {
			continue
		}
		t.Run(strings.Map(letters, p.text), func(t *testing.T) {
			err := provoke(newLab(t))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("want %q of %s, got %v", p.text, p.source, err)
			}
			if got, _ := e.match(); got != p || !errors.Is(err, p.class) {
				t.Errorf("want %q of %s, and found %q in\n%s", p.text, p.source, got.text, e.Said)
			}
		})
	}
	for text := range cases {
		t.Errorf("%q is provoked, and no pattern", text)
	}
}

func letters(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
		return r
	}
	return '-'
}

type provocation func(l *lab) error

// does is what fails, after commands that do not.
func does(command string, before ...string) provocation {
	return func(l *lab) error {
		l.all(before...)
		return l.zfs(strings.Fields(command)...)
	}
}

// datasetCases are the provocations of datasetPatterns.
func datasetCases() map[string]provocation {
	return map[string]provocation{
		": it's being held. Run 'zfs holds":          does("destroy $@1", "snapshot $@1", "hold tag $@1"),
		"': filesystem has children use '-r'":        does("destroy $", "create -u $/a"),
		"': volume has children use '-r'":            does("destroy $/v", "create -s -V 8M $/v", "snapshot $/v@1"),
		"': snapshot has dependent clones use '-R'":  does("destroy $@1", "snapshot $@1", "clone $@1 $/c"),
		": more recent snapshots or bookmarks exist": does("rollback $@1", "snapshot $@1", "snapshot $@2"),
		"': conflicting snapshot '": does("promote $/c", "create -u $/a", "snapshot $/a@1", "snapshot $/a@2",
			"clone $/a@2 $/c", "snapshot $/c@1"),
		": dataset already exists":                                          does("create -u $"),
		": bookmark exists":                                                 does("bookmark $@1 $#b", "snapshot $@1", "bookmark $@1 $#b"),
		": tag already exists on this dataset":                              does("hold tag $@1", "snapshot $@1", "hold tag $@1"),
		": no such tag on this dataset":                                     does("release tag $@1", "snapshot $@1"),
		"could not find any snapshots to destroy":                           does("destroy $@none"),
		"' does not exist.":                                                 does("destroy $#none"),
		": dataset does not exist":                                          does("destroy $/none"),
		": parent does not exist":                                           does("create -u $/none/a"),
		": no such pool or dataset":                                         does("list -t bookmark $#none"),
		": no such pool":                                                    does("create -u nopool/a"),
		": dataset is busy":                                                 destroyOpenVolume,
		": pool or dataset is busy":                                         destroyMounted,
		": pool is read-only":                                               createReadOnly,
		": out of space":                                                    does("create -V 100G $/v"),
		": size is greater than available space":                            does("set reservation=100G $"),
		": pool I/O is currently suspended":                                 snapshotSuspended,
		"' is readonly":                                                     does("set used=1 $"),
		" property is read-only":                                            does("inherit used $"),
		"' property cannot be inherited":                                    does("inherit quota $"),
		"invalid property '":                                                does("set nosuchproperty=1 $"),
		"' must be one of '":                                                does("set compression=none $"),
		": bad numeric value '":                                             does("set quota=much $"),
		": invalid numeric suffix '":                                        does("set quota=1X $"),
		": numeric value is too large":                                      does("set quota=99999999999999999999 $"),
		"' must be power of 2 from 512B to":                                 does("set recordsize=3K $"),
		"' does not apply to datasets of this type":                         does("set volsize=1M $"),
		"' must be a multiple of volume block size":                         does("set volsize=1025K $/v", "create -s -V 8M -o volblocksize=16K $/v"),
		": use 'none' to disable quota/refquota":                            does("set quota=0 $"),
		": size is less than current used or reserved space":                does("set quota=1M $", "create -u -o reservation=4M $/a"),
		"' must be an absolute path, 'none', or 'legacy'":                   does("set mountpoint=here $"),
		": invalid character '":                                             does("create -u $/a!"),
		": maximum name nesting depth exceeded":                             does("create -u $" + strings.Repeat("/a", 60)),
		": parent is not a filesystem":                                      does("create -u $/v/a", "create -s -V 8M $/v"),
		": not a cloned filesystem":                                         does("promote $"),
		": snapshots must be part of same dataset":                          does("rename $@1 $/a@1", "create -u $/a", "snapshot $@1"),
		": datasets must be within same pool":                               does("rename $ " + secondPool + "/a"),
		": New dataset name cannot be a descendant of current dataset name": does("rename $ $/a"),
		": source and target pools differ":                                  does("clone $@1 "+secondPool+"/c", "snapshot $@1"),
		": multiple snapshots of same fs not allowed":                       does("snapshot $@1 $@2"),
		": source is not an ancestor of the new bookmark's dataset":         does("bookmark $@1 $/a#b", "create -u $/a", "snapshot $@1"),
		": operation does not apply to pools":                               does("destroy " + firstPool),
		": operation not applicable to datasets of this type":               does("list -t volume $"),
	}
}

// destroyOpenVolume: a volume whose device is open. There is no udev, so it is the device that is new.
func destroyOpenVolume(l *lab) error {
	before, _ := filepath.Glob("/dev/zd*")
	l.all("create -s -V 8M $/v")
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		now, _ := filepath.Glob("/dev/zd*")
		at := slices.IndexFunc(now, func(path string) bool { return !slices.Contains(before, path) })
		if at < 0 {
			continue
		}
		device, err := os.Open(now[at])
		if err != nil {
			return err
		}
		defer device.Close()
		return l.zfs("destroy", "$/v")
	}
	return errors.New("the volume has no device")
}

// destroyMounted: a file system with an open file.
func destroyMounted(l *lab) error {
	return mounted(l.base, 0, func(dir string) error {
		f, err := os.Create(filepath.Join(dir, "open"))
		if err != nil {
			return err
		}
		defer f.Close()
		return l.zfs("destroy", "$")
	})
}

// createReadOnly: a pool that is imported read-only.
func createReadOnly(l *lab) error {
	dir := l.t.TempDir()
	if err := makePool(l.ctx, l.run, "fixed", filepath.Join(dir, "file"), 64<<20); err != nil {
		return err
	}
	for _, c := range []string{"export fixed", "import -d " + dir + " -o readonly=on -o cachefile=none -N fixed"} {
		if _, err := l.run.Zpool(l.ctx, strings.Fields(c)...); err != nil {
			return err
		}
	}
	err := l.zfs("create", "-u", "fixed/a")
	if _, exportErr := l.run.Zpool(l.ctx, "export", "fixed"); exportErr != nil {
		l.t.Error(exportErr)
	}
	return err
}

// snapshotSuspended: a pool on a file for which its file system has no more room, as a disk that returns errors. It goes on when there is room again.
func snapshotSuspended(l *lab) error {
	dir := l.t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		return err
	}
	if err := makePool(l.ctx, l.run, "starved", filepath.Join(dir, "file"), 128<<20); err != nil {
		return err
	}
	l.all("create -u starved/a")
	written := make(chan error, 1)
	go func() { written <- (mounts{}).Write(l.ctx, "starved/a", "file", noise(48<<20)) }()
	var err error
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if health, _ := l.run.Zpool(l.ctx, "list", "-H", "-o", "health", "starved"); strings.TrimSpace(string(health)) == "SUSPENDED" {
			err = l.zfs("snapshot", "starved/a@1")
			break
		}
	}
	if remountErr := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=256m"); remountErr != nil {
		l.t.Error(remountErr)
	}
	if _, clearErr := l.run.Zpool(l.ctx, "clear", "starved"); clearErr != nil {
		l.t.Error(clearErr)
	}
	if writeErr := <-written; writeErr != nil {
		l.t.Error(writeErr)
	}
	if _, destroyErr := l.run.Zpool(l.ctx, "destroy", "starved"); destroyErr != nil {
		l.t.Error(destroyErr)
	}
	if unmountErr := unix.Unmount(dir, 0); unmountErr != nil {
		l.t.Error(unmountErr)
	}
	return err
}

// noise does not compress.
func noise(bytes int) []byte {
	data := make([]byte, bytes)
	for i := range data {
		data[i] = byte(i*i>>3) ^ byte(i>>9)
	}
	return data
}
