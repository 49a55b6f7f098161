package stage1

import (
	"log/slog"

	"github.com/cyvive/cyvive/internal/machined/boot/watchdog"
)

// hound is the machine's watchdog, from when its driver is there. The kernel's own
// (softdog) is no part of stage 1: it would take the first place from one whose
// driver only the root has.
type hound struct {
	*watchdog.Dog
	log    *slog.Logger
	failed bool
}

// look starts the watchdog when it is there, and feeds it from then on.
func (h *hound) look(device string) {
	var err error
	if h.Dog != nil {
		err = h.Ping()
	} else if h.Dog, err = watchdog.Open(device, watchdog.BootTimeout); h.Dog != nil {
		h.log.Info("started the watchdog", "device", device, "timeout", watchdog.BootTimeout)
	}
	if err != nil && !h.failed {
		h.log.Warn("watchdog", "err", err)
	}
	h.failed = err != nil
}
