package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/machined/boot/kmsg"
	"github.com/cyvive/cyvive/internal/machined/boot/marker"
	"github.com/cyvive/cyvive/internal/machined/boot/power"
	"github.com/cyvive/cyvive/internal/machined/boot/timeline"
	"github.com/cyvive/cyvive/internal/machined/boot/trial"
	"github.com/cyvive/cyvive/internal/machined/boot/uevent"
	"github.com/cyvive/cyvive/internal/machined/boot/verity"
	"github.com/cyvive/cyvive/internal/machined/boot/watchdog"
	"github.com/cyvive/cyvive/internal/machined/supervise"
	"github.com/cyvive/cyvive/internal/machined/supervise/control"
)

const (
	runDir = "/run/cyvive"
	// pingInterval is a third of the watchdog's timeout.
	pingInterval = watchdog.Timeout / 3
)

// machine is what init holds while the machine runs.
type machine struct {
	log      *slog.Logger
	kmsg     *kmsg.Writer
	requests chan control.Action
	slot     string
	dog      *watchdog.Dog
	mods     *kmod.Loader
	reaper   *supervise.Reaper
	services *supervise.Supervisor
	logs     *supervise.Logs
	trial    *trial.Guard
	// farewell is the last line of the kernel's log, if there is one; of wait's
	// goroutine alone.
	farewell string
}

// Run is init. It returns only when it refused to start, when the boot failed,
// or when the kernel refused to go down; PID 1 then exits, and the kernel
// stops with a panic. It changes nothing before its refusals.
func Run() error {
	mark, err := marker.Read(marker.DefaultPath)
	if err := marker.CheckInit(marker.Look(), err); err != nil {
		return err
	}
	k := kmsg.Open()
	m := &machine{log: k.Logger("init"), kmsg: k, requests: make(chan control.Action, 1), slot: mark.Slot, reaper: supervise.NewReaper()}
	m.mark("init")
	signals := notify()
	ctx := context.Background()
	if err := Walk(m.log, m.steps(ctx)); err != nil {
		return err
	}
	m.watchTrial(trial.Variable)
	m.supervise(ctx)
	return m.wait(signals)
}

// notify takes all signals whose default in a Go program is to exit. They are
// not ignored instead, since children would inherit that.
func notify() <-chan os.Signal {
	c := make(chan os.Signal, 8)
	signal.Notify(c, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGABRT, unix.SIGPWR)
	return c
}

func (m *machine) mark(name string) {
	err := timeline.Append(timeline.DefaultPath, timeline.Milestone{Name: name, BootTime: timeline.Now()})
	if err != nil {
		m.log.Warn("cannot record milestone", "err", err)
	}
}

// steps is the boot.
func (m *machine) steps(ctx context.Context) []Step {
	return []Step{
		{Name: "limits", Run: setLimits},
		{Name: "module helper", Run: m.openModules},
		{Name: "kernel file systems", Run: func() error { return mountKernel(kernelMounts) }, Needed: true},
		{Name: "shared mounts", Run: shareMounts, Needed: true},
		{Name: "device links", Run: devLinks},
		{Name: "run directories", Run: makeRunDirs, Needed: true},
		{Name: "cgroups", Run: m.growCgroups, Needed: true},
		{Name: "ctrl-alt-del", Run: func() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) }},
		{Name: "hostname", Run: func() error { return nameHost("cyvive") }},
		{Name: "loopback", Run: loopbackUp, Needed: true},
		{Name: "devices", Run: func() error { return m.startDevices(ctx) }},
		{Name: "crash records", Run: m.openCrashRecords},
		{Name: "storage modules", Run: m.loadStorage},
		{Name: "lockdown", Run: func() error { return lockDown(lockdownFile) }},
		{Name: "kernel settings", Run: m.applySettings},
		{Name: "clock", Run: func() error { return raiseClock(m.log) }},
		{Name: "entropy", Run: func() error { return seedEntropy("/dev/hwrng") }},
		{Name: "watchdog", Run: m.openWatchdog},
		{Name: "logs", Run: m.openLogs, Needed: true},
	}
}

// openModules also makes this program the kernel's module helper: it is
// called with "-q -- NAME" for file systems, network protocols and ciphers.
func (m *machine) openModules() error {
	var err error
	if m.mods, err = kmod.Open(modulesDir); err == nil {
		m.mods.Deny(unwanted...)
	}
	return errors.Join(err, applySysctls("/proc/sys", []sysctl{{"kernel.modprobe", "/usr/bin/init"}}))
}

func makeRunDirs() error {
	var errs []error
	for dir, mode := range map[string]os.FileMode{"plane": 0o755, "plane/log": 0o755, "secrets": 0o700} {
		errs = append(errs, os.MkdirAll(filepath.Join(runDir, dir), mode))
	}
	return errors.Join(errs...)
}

func (m *machine) growCgroups() error {
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return fmt.Errorf("read memory size: %w", err)
	}
	raw, err := os.ReadFile("/proc/sys/kernel/threads-max")
	if err != nil {
		return fmt.Errorf("read most threads: %w", err)
	}
	threads, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 32)
	if err != nil {
		return fmt.Errorf("read most threads: %w", err)
	}
	return growCgroups(cgroupRoot, os.Getpid(), totalMemory(string(meminfo)), threads)
}

func (m *machine) applySettings() error {
	return applySysctls("/proc/sys", settings())
}

// startDevices listens before it looks, so that no device is missed.
func (m *machine) startDevices(ctx context.Context) error {
	keys := power.New(func(device string) {
		m.log.Info("power key pressed", "device", device)
		m.ask(control.PowerOff)
	})
	events, err := uevent.Listen()
	if err != nil || m.mods == nil {
		return errors.Join(err, keys.Scan(ctx))
	}
	background(m.log, "device events", func() error { return hotplug(ctx, m.log, events, m.mods, keys) })
	return errors.Join(coldplug(m.log, m.mods), keys.Scan(ctx))
}

func (m *machine) openLogs() error {
	var err error
	m.logs, err = supervise.NewLogs(filepath.Join(runDir, "log"), m.log)
	return err
}

// supervise starts the reaper, the control socket and machined.
func (m *machine) supervise(ctx context.Context) {
	m.services = supervise.New(m.reaper, m.logs, m.log, services(m.kmsg))
	background(m.log, "reaper", func() error { m.reaper.Run(ctx); return nil })
	background(m.log, "supervisor", func() error { m.services.Run(ctx); return nil })
	background(m.log, "control socket", func() error {
		return control.Serve(ctx, control.DefaultPath, 0, handler{m}, m.log)
	})
	background(m.log, "start of machined", func() error { return m.services.Start(ctx, "machined") })
	background(m.log, "check of the root", func() error { return checkRoot(ctx, m.log) })
}

// checkRoot reads all of the verified root once, so that a damaged block stops
// the boot even when nothing has read it.
func checkRoot(ctx context.Context, log *slog.Logger) error {
	var s unix.Stat_t
	if err := unix.Stat("/", &s); err != nil {
		return fmt.Errorf("find root device: %w", err)
	}
	began := time.Now()
	n, err := verity.CheckAll(ctx, fmt.Sprintf("/dev/dm-%d", unix.Minor(uint64(s.Dev))))
	if err != nil {
		return err
	}
	log.Info("the whole root matches its hash", "bytes", n, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// wait keeps the machine running until it is asked to go down. The watchdog is
// fed here, by the loop that also answers to the keys: when it hangs, the
// machine starts again.
func (m *machine) wait(signals <-chan os.Signal) error {
	ping := time.NewTicker(pingInterval)
	defer ping.Stop()
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGINT {
				m.log.Info("ctrl-alt-del")
				m.ask(control.Reboot)
			}
		case a := <-m.requests:
			return goDown(m.log, m.services, m.reaper, a, m.feed, m.sayFarewell)
		case <-ping.C:
			m.feed()
			m.checkTrial(time.Now(), keepLog)
		}
	}
}

// ask reports whether the request is the first.
func (m *machine) ask(a control.Action) bool {
	select {
	case m.requests <- a:
		return true
	default:
		return false
	}
}

// handler answers the control socket.
type handler struct{ m *machine }

func (h handler) Start(ctx context.Context, name string) error { return h.m.services.Start(ctx, name) }
func (h handler) Stop(ctx context.Context, name string) error  { return h.m.services.Stop(ctx, name) }
func (h handler) Restart(ctx context.Context, name string) error {
	return h.m.services.Restart(ctx, name)
}
func (h handler) Status() []control.Service           { return h.m.services.Status() }
func (h handler) OpenLog(name string) (string, error) { return h.m.logs.FIFO(name) }
func (h handler) Trial(on bool) {
	if on {
		h.m.trial.Alive(time.Now())
	} else {
		h.m.trial.Settle()
	}
}
func (h handler) OnTrial() bool { return h.m.trial.OnTrial() }
func (h handler) Shutdown(a control.Action) error {
	if !h.m.ask(a) {
		return errors.New("the machine goes down already")
	}
	return nil
}
