package plane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/machined/boot"
	"github.com/cyvive/cyvive/internal/machined/supervise"
)

// Files of the plane. argsFile is a JSON list of arguments of the kubelet.
const (
	cgroupRoot       = "/sys/fs/cgroup"
	logDir           = "/run/log"
	argsFile         = "/etc/kubernetes/args"
	containerdConfig = "/etc/containerd/config.toml"
	containerdSocket = "/run/containerd/containerd.sock"
)

// ErrNotHere is why the plane's init refused to start.
var ErrNotHere = errors.New("refused to start")

// check says why this process must not act as the plane's init. Inside the
// plane there is a cgroup namespace whose root is not the machine's.
func check(pid int, env, cgroup string) error {
	switch {
	case pid != 1:
		return fmt.Errorf("%w: the plane's init runs as PID 1 of the workload plane only, this is PID %d", ErrNotHere, pid)
	case env != "1":
		return fmt.Errorf("%w: CYVIVE_PLANE=1 is not set, so this is not the workload plane", ErrNotHere)
	case cgroup == "":
		return fmt.Errorf("%w: %s is the machine's own cgroup root, not the plane's", ErrNotHere, cgroupRoot)
	}
	return nil
}

// delegated is the type of the cgroup that is mounted at root; the machine's
// root cgroup alone has no such file (cgroup-v2, "cgroup.type").
func delegated(root string) string {
	raw, err := os.ReadFile(filepath.Join(root, "cgroup.type"))
	if err != nil {
		return ""
	}
	return string(raw)
}

// Run is the plane's init. It returns nil after an ordered stop (SIGTERM).
func Run() error {
	if err := check(os.Getpid(), os.Getenv("CYVIVE_PLANE"), delegated(cgroupRoot)); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	stop := make(chan os.Signal, 4)
	signal.Notify(stop, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
	if err := boot.Walk(log, steps()); err != nil {
		return err
	}
	logs, err := supervise.NewLogs(logDir, log)
	if err != nil {
		return err
	}
	args, err := readArgs(argsFile)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r := supervise.NewReaper()
	s := supervise.New(r, logs, log, services(args))
	go r.Run(ctx)
	go s.Run(ctx)
	go start(ctx, log, s)
	for sig := range stop {
		if sig == unix.SIGTERM || sig == unix.SIGINT {
			break
		}
	}
	goDown(log, s)
	return nil
}

// steps prepare what the container's specification cannot.
func steps() []boot.Step {
	return []boot.Step{
		{Name: "shared mounts", Run: shareMounts, Needed: true},
		{Name: "cgroups", Run: moveToLeaf, Needed: true},
	}
}

// shareMounts lets volumes that the kubelet mounts reach the pods.
func shareMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	return nil
}

// moveToLeaf frees the plane's root cgroup of processes, so that it can hand
// controllers to the pods.
func moveToLeaf() error {
	leaf := filepath.Join(cgroupRoot, "init")
	if err := os.MkdirAll(leaf, 0o755); err != nil {
		return fmt.Errorf("make cgroup: %w", err)
	}
	if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("1"), 0); err != nil {
		return fmt.Errorf("move to cgroup: %w", err)
	}
	return boot.EnableControllers(cgroupRoot)
}

// readArgs reads a JSON list of strings; an absent file is an empty list.
func readArgs(path string) ([]string, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read arguments of the kubelet: %w", err)
	}
	var args []string
	if err := json.Unmarshal(raw, &args); err != nil {
		return nil, fmt.Errorf("read arguments of the kubelet: %s: %w", path, err)
	}
	return args, nil
}

var env = append([]string{"PATH=/usr/bin", "HOME=/root", "TMPDIR=/tmp"}, container.GoEnvStarting(runtime.NumCPU(), 128<<20)...)

// services is the whole table. OOM scores are relative to pods: guaranteed
// ones have -997, all others more.
func services(kubeletArgs []string) []supervise.Service {
	policy := supervise.Policy{
		FirstDelay: 250 * time.Millisecond, MaxDelay: 10 * time.Second,
		Steady: time.Minute, StopTimeout: 10 * time.Second,
	}
	return []supervise.Service{
		{
			Name: "containerd",
			Command: supervise.Command{
				Path: "/usr/bin/containerd", Args: []string{"containerd", "--config", containerdConfig},
				Env: env, Cgroup: cgroupRoot + "/containerd", OOMScoreAdj: -999,
			},
			Policy: policy,
		},
		{
			Name: "kubelet",
			Command: supervise.Command{
				Path: "/usr/bin/kubelet",
				Args: append([]string{
					"kubelet", "--config=/etc/kubernetes/kubelet.yaml", "--kubeconfig=/etc/kubernetes/kubelet.kubeconfig",
				}, kubeletArgs...),
				Env: env, Cgroup: cgroupRoot + "/kubelet", OOMScoreAdj: -999,
			},
			Policy: policy,
		},
	}
}

// start starts containerd, and the kubelet when its socket is there.
func start(ctx context.Context, log *slog.Logger, s *supervise.Supervisor) {
	if err := s.Start(ctx, "containerd"); err != nil {
		log.Warn("start containerd", "err", err)
	}
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	log.Info("kubelet waits for containerd", "socket", containerdSocket)
	for syscall.Access(containerdSocket, 0) != nil {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		}
	}
	if err := s.Start(ctx, "kubelet"); err != nil {
		log.Warn("start kubelet", "err", err)
	}
}
