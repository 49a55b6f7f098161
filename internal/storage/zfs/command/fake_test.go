package command

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestMain is the fake programs, too: the test binary, started by a link named zfs or zpool.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); name == "zfs" || name == "zpool" {
		os.Exit(fakeMain(filepath.Dir(os.Args[0])))
	}
	os.Exit(m.Run())
}

// reply is what a fake program does when it is called with Args, or with arguments that begin so.
type reply struct {
	Args           []string
	Stdout, Stderr string
	Code           int
	// Read says how much of the standard input it reads; -1 all.
	Read int64
	// Flood writes so many bytes more, Hang waits until it is killed.
	Flood int
	Hang  bool
	// Once removes it from what is played after it was called.
	Once bool
}

// call is a call of a fake program.
type call struct {
	Args, Env []string
	Input     string
}

const (
	repliesFile = "replies.json"
	callsFile   = "calls.json"
)

// fake makes programs that answer with replies, and returns a system that runs them, and the calls so far.
func fake(t *testing.T, replies ...reply) (*System, func() []call) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"zfs", "zpool"} {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	save(filepath.Join(dir, repliesFile), replies)
	calls := func() []call {
		var all []call
		load(filepath.Join(dir, callsFile), &all)
		return all
	}
	return NewSystem(Runner{ZFSPath: filepath.Join(dir, "zfs"), ZpoolPath: filepath.Join(dir, "zpool")}), calls
}

// fakeMain plays a program.
func fakeMain(dir string) int {
	args := os.Args[1:]
	var replies []reply
	load(filepath.Join(dir, repliesFile), &replies)
	at := slices.IndexFunc(replies, func(r reply) bool { return len(r.Args) <= len(args) && slices.Equal(r.Args, args[:len(r.Args)]) })
	c := call{Args: args, Env: os.Environ()}
	var r reply
	if at >= 0 {
		r = replies[at]
	}
	if r.Read != 0 {
		from := io.Reader(os.Stdin)
		if r.Read > 0 {
			from = io.LimitReader(from, r.Read)
		}
		input, err := io.ReadAll(from)
		check(err)
		c.Input = string(input)
	}
	var calls []call
	load(filepath.Join(dir, callsFile), &calls)
	save(filepath.Join(dir, callsFile), append(calls, c))
	if at < 0 {
		fmt.Fprintf(os.Stderr, "no reply for %q\n", args)
		return 99
	}
	if r.Once {
		save(filepath.Join(dir, repliesFile), slices.Delete(replies, at, at+1))
	}
	fmt.Fprint(os.Stderr, r.Stderr)
	fmt.Print(r.Stdout)
	for range r.Flood >> 10 {
		if _, err := os.Stdout.Write(make([]byte, 1<<10)); err != nil {
			return 98
		}
	}
	if r.Hang {
		time.Sleep(time.Hour)
	}
	return r.Code
}

func load(path string, to any) {
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return
	}
	check(err)
	check(json.Unmarshal(data, to))
}

func save(path string, what any) {
	data, err := json.Marshal(what)
	check(err)
	check(os.WriteFile(path, data, 0o600))
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
