package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Command says how to start a child.
type Command struct {
	Path string
	Args []string // Args[0] is the program's own name
	Env  []string // the whole environment: nothing is inherited
	Dir  string   // "/" when empty
	// Cgroup is the directory, below /sys/fs/cgroup, that the child is born
	// in (clone3 with CLONE_INTO_CGROUP, Linux 5.7); made when it is not
	// there. Empty means inherited.
	Cgroup string
	// OOMScoreAdj is written after the fork: children would otherwise inherit
	// that of PID 1.
	OOMScoreAdj int
	// Output becomes standard output and error. The caller keeps ownership.
	Output *os.File
}

// fork starts the child; the caller holds the Reaper's lock.
func (c Command) fork() (int, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	out := c.Output
	if out == nil {
		out = null
	}
	attr := &syscall.ProcAttr{
		Dir:   c.Dir,
		Env:   c.Env,
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if attr.Dir == "" {
		attr.Dir = "/"
	}
	if c.Cgroup != "" {
		if err := os.MkdirAll(c.Cgroup, 0o755); err != nil {
			return 0, fmt.Errorf("make cgroup: %w", err)
		}
		dir, err := os.Open(c.Cgroup)
		if err != nil {
			return 0, fmt.Errorf("open cgroup: %w", err)
		}
		defer dir.Close()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(dir.Fd())
	}
	pid, err := syscall.ForkExec(c.Path, c.Args, attr)
	if err != nil {
		return 0, err
	}
	if err := setOOMScore(pid, c.OOMScoreAdj); err != nil {
		syscall.Kill(pid, syscall.SIGKILL)
		syscall.Wait4(pid, nil, 0, nil)
		return 0, fmt.Errorf("set OOM score: %w", err)
	}
	return pid, nil
}

// setOOMScore is best effort where the child is gone already.
func setOOMScore(pid, score int) error {
	path := filepath.Join("/proc", strconv.Itoa(pid), "oom_score_adj")
	err := os.WriteFile(path, []byte(strconv.Itoa(score)), 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}
