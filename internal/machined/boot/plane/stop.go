package plane

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/supervise"
	"github.com/cyvive/cyvive/internal/machined/supervise/phases"
)

// podsGroup holds the cgroups of all pods (the kubelet's cgroupRoot is /).
const podsGroup = cgroupRoot + "/kubepods"

// downPhases: the kubelet first, so that it starts nothing again; then the
// pods, asked and killed; then containerd, with no container left.
var downPhases = []phases.Phase{
	{Name: "kubelet", Deadline: 10 * time.Second},
	{Name: "terminate pods", Deadline: 10 * time.Second},
	{Name: "kill pods", Deadline: 5 * time.Second},
	{Name: "containerd", Deadline: 10 * time.Second},
}

func goDown(log *slog.Logger, s *supervise.Supervisor) {
	phases.Run(log, downPhases, map[string]phases.Work{
		"kubelet":        func(ctx context.Context) error { return s.Stop(ctx, "kubelet") },
		"terminate pods": func(ctx context.Context) error { return terminate(ctx, podsGroup) },
		"kill pods":      func(ctx context.Context) error { return killGroup(ctx, podsGroup) },
		"containerd":     func(ctx context.Context) error { return s.Stop(ctx, "containerd") },
	}, nil)
}

// terminate sends SIGTERM to all processes below a cgroup and waits until it
// is empty.
func terminate(ctx context.Context, group string) error {
	pids, err := processes(group)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		unix.Kill(pid, unix.SIGTERM)
	}
	return waitEmpty(ctx, group)
}

// killGroup kills all processes below a cgroup at once (cgroup.kill, Linux 5.14).
func killGroup(ctx context.Context, group string) error {
	err := os.WriteFile(filepath.Join(group, "cgroup.kill"), []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kill pods: %w", err)
	}
	return waitEmpty(ctx, group)
}

func waitEmpty(ctx context.Context, group string) error {
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		raw, err := os.ReadFile(filepath.Join(group, "cgroup.events"))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !populated(string(raw)) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("wait for pods to end: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for pods to end: %w", ctx.Err())
		case <-poll.C:
		}
	}
}

// populated reads a cgroup.events file.
func populated(events string) bool {
	for line := range strings.Lines(events) {
		if strings.TrimSpace(line) == "populated 1" {
			return true
		}
	}
	return false
}

// processes lists the pids in a cgroup and all below it.
func processes(group string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		for _, f := range strings.Fields(string(raw)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list processes of pods: %w", err)
	}
	return pids, nil
}
