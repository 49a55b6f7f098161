package boot

import (
	"os"
	"time"

	"github.com/cyvive/cyvive/internal/machined/boot/kmsg"
	"github.com/cyvive/cyvive/internal/machined/boot/trial"
	"github.com/cyvive/cyvive/internal/machined/supervise/control"
)

// keepLog has the kernel leave the end of its log in the firmware's memory with
// every restart, and not only when it panics (printk.always_kmsg_dump,
// kernel/printk/printk.c): the next boot finds the reason there (package crash).
const keepLog = "/sys/module/printk/parameters/always_kmsg_dump"

// watchTrial finds out whether this boot is the trial of a new release.
func (m *machine) watchTrial(variable string) {
	counted, err := trial.Counted(variable, m.slot)
	if err != nil {
		m.log.Warn("cannot tell whether this boot is a trial, so it is taken for none", "err", err)
	}
	if counted {
		m.log.Info("this boot is the trial of a release", "slot", m.slot)
	}
	m.trial = trial.NewGuard(counted, time.Now())
}

// checkTrial starts the machine again, in order, if the trial has to end.
func (m *machine) checkTrial(now time.Time, keepLog string) {
	why := m.trial.Overdue(now)
	if why == "" || !m.ask(control.Reboot) {
		return
	}
	m.farewell = trial.Mark + why
	m.kmsg.Emit(kmsg.Err, m.farewell)
	if err := os.WriteFile(keepLog, []byte("Y"), 0); err != nil {
		m.log.Warn("the reason is not kept for the next boot", "err", err)
	}
}

// sayFarewell repeats why the trial ends, where the kernel keeps it: only the last
// few KiB of its log are.
func (m *machine) sayFarewell() {
	if m.farewell != "" {
		m.kmsg.Emit(kmsg.Err, m.farewell)
	}
}
