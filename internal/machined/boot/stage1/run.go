package stage1

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/boot/cmdline"
	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/machined/boot/kmsg"
	"github.com/cyvive/cyvive/internal/machined/boot/marker"
	"github.com/cyvive/cyvive/internal/machined/boot/medium"
	"github.com/cyvive/cyvive/internal/machined/boot/timeline"
	"github.com/cyvive/cyvive/internal/machined/boot/uevent"
	"github.com/cyvive/cyvive/internal/machined/boot/verity"
	"github.com/cyvive/cyvive/internal/machined/boot/watchdog"
)

// Times of the search for the root's partitions.
const (
	// searchQuiet is how long the search goes on after the last sign of a
	// new device, and searchDeadline how long it lasts at most.
	searchQuiet    = 30 * time.Second
	searchDeadline = 5 * time.Minute
	searchReport   = 5 * time.Second
	searchInterval = 250 * time.Millisecond // in case an event was lost
	// searchOther is how long the search goes on for the disk that the boot loader
	// was started from when another one has the root too.
	searchOther = 10 * time.Second
)

const newRoot = "/root"

// Run does all of stage 1 and does not return when that succeeds. The error
// is for the console; after it, PID 1 exits, and the kernel stops with a panic.
func Run() error {
	if err := marker.CheckStage1(marker.Look()); err != nil {
		return err
	}
	started := timeline.Now()
	if err := firstMounts(); err != nil {
		return err
	}
	log := kmsg.Open().Logger("stage1")
	log.Info("started")
	args, err := cmdline.Read()
	if err != nil {
		return err
	}
	hash, err := args.RootHash()
	if err != nil {
		return err
	}
	dog := &hound{log: log}
	p, onMedium, err := openRoot(log, hash, dog)
	if err != nil {
		return err
	}
	if err := leaveTraces(mark(p, hash, onMedium), started); err != nil {
		return err
	}
	log.Info("switching to the verified root", "roothash", fmt.Sprintf("%x", hash), "partition", p.Root.Device)
	if err := switchRoot(newRoot); err != nil {
		return err
	}
	handed, err := dog.HandOn()
	if err != nil {
		log.Warn("the watchdog is not handed on", "err", err)
	}
	const next = "/sbin/init"
	err = unix.Exec(next, []string{next}, append([]string{"PATH=/usr/bin", "HOME=/", "TERM=linux"}, handed...))
	runtime.KeepAlive(dog) // open until here
	return fmt.Errorf("execute %s: %w", next, err)
}

// firstMounts mounts what everything else needs. The kernel may have mounted
// devtmpfs itself, which is EBUSY.
func firstMounts() error {
	const nodevexec = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, m := range []struct {
		fstype, dir string
		flags       uintptr
		data        string
	}{
		{"devtmpfs", "/dev", unix.MS_NOSUID, "mode=0755"},
		{"proc", "/proc", nodevexec, ""},
		{"sysfs", "/sys", nodevexec, ""},
		{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return fmt.Errorf("make %s: %w", m.dir, err)
		}
		err := unix.Mount(m.fstype, m.dir, m.fstype, m.flags, m.data)
		if err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s on %s: %w", m.fstype, m.dir, err)
		}
	}
	return nil
}

// openRoot loads what it takes, waits for the partitions, and mounts the root
// file system at newRoot. It says whether that is in memory, from an installation
// medium.
func openRoot(log *slog.Logger, hash [32]byte, dog *hound) (p pair, onMedium bool, err error) {
	events, err := uevent.Listen()
	if err != nil {
		return p, false, err
	}
	defer events.Close()
	mods, err := kmod.Open("/usr/lib/modules")
	if err != nil {
		return p, false, err
	}
	// The kernel asks this program for modules it finds it needs, such as
	// the fastest SHA-256.
	if err := os.WriteFile("/proc/sys/kernel/modprobe", []byte("/init"), 0); err != nil {
		log.Warn("cannot set the kernel's module helper", "err", err)
	}
	for _, m := range []string{"dm-mod", "dm-verity", "erofs"} {
		if err := mods.Load(m); err != nil {
			return p, false, err
		}
	}
	disk, err := medium.Attach(mods.Load)
	if err != nil {
		return p, false, err
	}
	if disk != "" {
		log.Info("the root is that of an installation medium, in memory", "disk", disk)
	}
	p, err = search(log, events, mods, hash, dog, disk)
	if err != nil {
		return p, false, err
	}
	log.Info("opening verity", "data", p.Root.Device, "tree", p.Verity.Device)
	d, err := verity.Open("root", "/dev/"+p.Root.Device, "/dev/"+p.Verity.Device, hash)
	if err != nil {
		return p, false, err
	}
	if err := os.MkdirAll(newRoot, 0o755); err != nil {
		return p, false, fmt.Errorf("make %s: %w", newRoot, err)
	}
	if err := unix.Mount(d.Path, newRoot, "erofs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return p, false, fmt.Errorf("mount root file system %s (partition %s): %w", d.Path, p.Root.Device, err)
	}
	return p, disk != "", nil
}

// search loads drivers for the devices that show up until both partitions do, and
// meanwhile feeds the watchdog, once there is one among them. With a disk named, the
// partitions of no other count: one that was installed from the same medium has the
// same root, and is not asked for it.
func search(log *slog.Logger, events *uevent.Listener, mods *kmod.Loader, hash [32]byte, dog *hound, only string) (pair, error) {
	rootID, verityID := halves(hash)
	log.Info("waiting for the root partitions", "root", rootID, "verity", verityID)
	ctx, cancel := context.WithTimeout(context.Background(), searchDeadline)
	defer cancel()
	wake := listen(ctx, events)
	poll := time.NewTicker(searchInterval)
	defer poll.Stop()
	quiet := time.NewTimer(searchQuiet)
	defer quiet.Stop()
	var esp uuid.UUID
	if only == "" {
		esp = bootPartition(log, mods)
	}
	began := time.Now()
	report := began.Add(searchReport)
	var first time.Time // that a pair was there
	for {
		loaded, err := mods.LoadAliases(kmod.Devices("/sys/devices"))
		if err != nil {
			log.Warn("some modules cannot be loaded", "err", err)
		}
		if len(loaded) > 0 {
			log.Info("loaded modules for devices", "modules", strings.Join(loaded, ","))
		}
		dog.look(watchdog.Device)
		list, scanErr := scan("/sys/block", "/dev")
		list = ofDisk(list, only)
		if p, sure, ok := findPair(list, hash, esp); ok {
			if first.IsZero() {
				first = time.Now()
			}
			if sure || time.Since(first) >= searchOther {
				if !sure {
					log.Warn("the root is not on the disk that the boot loader was started from", "partition", p.Root.Device, "boot partition", esp)
				}
				return p, nil
			}
		}
		if time.Now().After(report) {
			report = time.Now().Add(searchReport)
			log.Info("still waiting for the root partitions", "seen", describe(list))
		}
		select {
		case <-wake:
			quiet.Reset(searchQuiet)
			continue
		case <-poll.C:
			continue
		case <-quiet.C:
		case <-ctx.Done():
		}
		return pair{}, errors.Join(fmt.Errorf(
			"find root %x: no disk has partitions with the UUIDs %s (root) and %s (verity) after %v; there is: %s",
			hash, rootID, verityID, time.Since(began).Round(time.Second), describe(list)), scanErr)
	}
}

// listen turns device events into wakes, several into one.
func listen(ctx context.Context, events *uevent.Listener) <-chan struct{} {
	wake := make(chan struct{}, 1)
	go func() {
		events.Run(ctx, func(uevent.Event) {
			select {
			case wake <- struct{}{}:
			default:
			}
		})
	}()
	return wake
}

// mark is what those after stage 1 are told of what was booted.
func mark(p pair, hash [32]byte, onMedium bool) marker.Marker {
	m := marker.Marker{
		RootHash:      fmt.Sprintf("%x", hash),
		Slot:          p.slot(),
		RootPartition: p.Root.Device,
		Disk:          p.Root.Disk,
		Medium:        onMedium,
	}
	if onMedium {
		m.Slot = "" // there is none to upgrade
	}
	return m
}

// leaveTraces writes the marker and the first milestones into /run.
func leaveTraces(m marker.Marker, started time.Duration) error {
	if err := os.MkdirAll("/run/cyvive", 0o755); err != nil {
		return fmt.Errorf("make run directory: %w", err)
	}
	err := timeline.Append(timeline.DefaultPath,
		timeline.Milestone{Name: "kernel"}, timeline.Milestone{Name: "stage1", BootTime: started})
	if err != nil {
		return err
	}
	return marker.Write(marker.DefaultPath, m)
}
