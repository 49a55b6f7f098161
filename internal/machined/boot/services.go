package boot

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/machined/boot/kmsg"
	"github.com/cyvive/cyvive/internal/machined/supervise"
)

// serviceEnv is the whole environment of services.
var serviceEnv = []string{"PATH=/usr/bin", "HOME=/", "TMPDIR=/tmp"}

// OOM scores: the kernel should kill any pod before these. init itself cannot
// be killed.
const (
	machinedOOMScore   = -900
	containerdOOMScore = -999
)

// services is init's whole table. containerd is started when machined asks.
func services(k *kmsg.Writer) []supervise.Service {
	return []supervise.Service{
		{
			Name: "machined",
			Command: supervise.Command{
				Path: "/usr/bin/machined", Args: []string{"machined"}, Env: serviceEnv,
				Cgroup: cgroupRoot + "/system/machined", OOMScoreAdj: machinedOOMScore,
			},
			Policy: supervise.Policy{
				FirstDelay: 250 * time.Millisecond, MaxDelay: 10 * time.Second,
				Steady: time.Minute, StopTimeout: 10 * time.Second,
			},
			Tee: newConsole(k, "machined", time.Now).line,
		},
		{
			Name: "containerd",
			Command: supervise.Command{
				Path: "/usr/bin/containerd", Args: []string{"containerd", "--config", "/etc/containerd/system.toml"},
				Env: slices.Concat(serviceEnv, container.GoEnvStarting(runtime.NumCPU(), 64<<20)), Cgroup: cgroupRoot + "/system/containerd", OOMScoreAdj: containerdOOMScore,
			},
			Policy: supervise.Policy{
				FirstDelay: 250 * time.Millisecond, MaxDelay: 10 * time.Second,
				Steady: time.Minute, StopTimeout: 10 * time.Second,
			},
		},
	}
}

// Rate at which a service's lines go to the console: a serial line of 115200
// baud takes a hundred or so a second.
const (
	consoleLinesPerSecond = 20
	consoleBurst          = 200
)

// console copies a service's lines to the kernel's log, as many as it bears;
// all of them are in the service's own log.
type console struct {
	k    *kmsg.Writer
	name string
	now  func() time.Time

	mu      sync.Mutex
	tokens  float64
	last    time.Time
	dropped int
}

func newConsole(k *kmsg.Writer, name string, now func() time.Time) *console {
	return &console{k: k, name: name, now: now, tokens: consoleBurst, last: now()}
}

func (c *console) line(line []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.tokens = min(consoleBurst, c.tokens+now.Sub(c.last).Seconds()*consoleLinesPerSecond)
	c.last = now
	if c.tokens < 1 {
		c.dropped++
		return
	}
	c.tokens--
	if c.dropped > 0 {
		c.k.Emit(kmsg.Warning, fmt.Sprintf("%s: %d lines are in its log only", c.name, c.dropped))
		c.dropped = 0
	}
	c.k.Emit(kmsg.Info, c.name+": "+string(line))
}
