package workload

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// Program is one program of the plane.
type Program struct {
	// Name is that of the service, Cgroup the folder of its processes.
	Name, Cgroup string
}

// Programs returns the programs of a plane whose cgroup is at root, in the order
// in which the plane starts them.
func Programs(root string) []Program {
	return []Program{
		{"plane/containerd", filepath.Join(root, "containerd")},
		{"kubelet", filepath.Join(root, "kubelet")},
	}
}

// ticksPerSecond is USER_HZ, in which /proc counts: 100 on every architecture
// that Go runs on (include/uapi/asm-generic/param.h).
const ticksPerSecond = 100

// List returns the state of each program, nothing at all while there is no
// plane. Proc is where procfs is, bootedAt when the kernel started.
func List(proc string, programs []Program, bootedAt time.Time) ([]server.Service, error) {
	var services []server.Service
	for _, p := range programs {
		pids, err := processes(filepath.Join(p.Cgroup, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", p.Name, err)
		}
		services = append(services, describe(proc, p.Name, pids, bootedAt))
	}
	return services, nil
}

// describe takes the process that has run the longest for the program itself;
// the others are its children.
func describe(proc, name string, pids []uint32, bootedAt time.Time) server.Service {
	s := server.Service{Name: name, State: server.ServiceStopped}
	var oldest uint64
	for _, pid := range pids {
		stat, err := os.ReadFile(filepath.Join(proc, strconv.FormatUint(uint64(pid), 10), "stat"))
		if err != nil {
			continue // it has ended meanwhile
		}
		ticks, err := startTicks(stat)
		if err != nil || s.PID != 0 && ticks >= oldest {
			continue
		}
		s.State, s.PID, oldest = server.ServiceRunning, pid, ticks
		s.Since = bootedAt.Add(time.Duration(ticks) * (time.Second / ticksPerSecond))
	}
	return s
}

// processes reads a cgroup.procs: one PID a line, 0 for those of other PID
// namespaces.
func processes(path string) ([]uint32, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var pids []uint32
	for line := range strings.Lines(string(text)) {
		pid, err := strconv.ParseUint(strings.TrimSpace(line), 10, 32)
		if err != nil {
			return nil, err
		}
		if pid != 0 {
			pids = append(pids, uint32(pid))
		}
	}
	return pids, nil
}

var errStat = errors.New("parse process status: not the form of proc_pid_stat(5)")

// startTicks reads field 22 of proc_pid_stat(5). Field 2, the name in brackets,
// may hold spaces and brackets itself.
func startTicks(stat []byte) (uint64, error) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, errStat
	}
	fields := strings.Fields(string(stat[end+1:]))
	const field = 22 - 3 // the first after the name is field 3
	if len(fields) <= field {
		return 0, errStat
	}
	ticks, err := strconv.ParseUint(fields[field], 10, 39)
	if err != nil {
		return 0, errStat
	}
	return ticks, nil
}
