package boot

import (
	"context"
	"log/slog"
	"strings"

	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/machined/boot/power"
	"github.com/cyvive/cyvive/internal/machined/boot/uevent"
)

const modulesDir = "/usr/lib/modules"

// unwanted are modules that a device asks for and a node does without:
// hypervisors, until something runs virtual machines in pods, and a frequency
// driver that only says that it does not fit.
var unwanted = []string{"kvm_amd", "kvm_intel", "powernow_k8", "pcspkr", "floppy"}

// coldplug loads drivers for the devices that are there.
func coldplug(log *slog.Logger, mods *kmod.Loader) error {
	loaded, err := mods.LoadAliases(kmod.Devices("/sys/devices"))
	if len(loaded) > 0 {
		log.Info("loaded modules for devices", "modules", strings.Join(loaded, ","))
	}
	return err
}

// hotplug loads drivers for devices that come, and watches power keys.
func hotplug(ctx context.Context, log *slog.Logger, l *uevent.Listener, mods *kmod.Loader, keys *power.Watcher) error {
	return l.Run(ctx, func(e uevent.Event) {
		var err error
		switch {
		case e == uevent.Event{}:
			err = coldplug(log, mods)
		case e.Action != "add":
			return
		case e.Modalias != "":
			var loaded []string
			loaded, err = mods.LoadAliases([]string{e.Modalias})
			if len(loaded) > 0 {
				log.Info("loaded modules", "modules", strings.Join(loaded, ","), "device", e.DevPath)
			}
		case e.Subsystem == "input" && strings.HasPrefix(e.DevName, "input/event"):
			err = keys.Scan(ctx)
		}
		if err != nil {
			log.Warn("device event", "device", e.DevPath, "err", err)
		}
	})
}
