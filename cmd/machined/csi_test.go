package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestListenGroup: a socket takes the place of what an agent that was killed has left, and is for a group alone.
func TestListenGroup(t *testing.T) {
	group := os.Getgid()
	if os.Geteuid() == 0 {
		group = 904
	}
	path := filepath.Join(t.TempDir(), "csi", "zfs.sock")
	for range 2 {
		l, err := listenGroup(path, group)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false) // as if it were killed
		for name, want := range map[string]fs.FileMode{filepath.Dir(path): fs.ModeDir | 0o750, path: fs.ModeSocket | 0o660} {
			info, err := os.Lstat(name)
			if err != nil {
				t.Fatal(err)
			}
			if owner := info.Sys().(*syscall.Stat_t); info.Mode() != want || int(owner.Gid) != group || int(owner.Uid) != os.Geteuid() {
				t.Errorf("%s: %s of %d:%d, want %s of group %d", name, info.Mode(), owner.Uid, owner.Gid, want, group)
			}
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		l.Close()
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path, "file"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := listenGroup(path, group); err == nil {
		t.Error("a directory that is not empty was replaced")
	}
}

func TestSometimes(t *testing.T) {
	told := 0
	tell := sometimes(time.Hour, func(error) { told++ })
	for range 3 {
		tell(errors.New("x"))
	}
	if told != 1 {
		t.Errorf("told %d times in an hour, want once", told)
	}
	tell = sometimes(0, func(error) { told++ })
	tell(nil)
	tell(nil)
	if told != 3 {
		t.Errorf("told %d times, want 3", told)
	}
}
