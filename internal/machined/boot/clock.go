package boot

import (
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// clockFloor is a time that has certainly passed: that of the build. With a
// clock before it no certificate would be valid, and there would be no way in.
func clockFloor(files ...string) time.Time {
	var floor time.Time
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				floor = t
			}
		}
	}
	for _, name := range files {
		if s, err := os.Stat(name); err == nil && s.ModTime().After(floor) {
			floor = s.ModTime()
		}
	}
	return floor
}

// readRTC is the hardware clock's time, taken as UTC.
func readRTC(device string) (time.Time, error) {
	f, err := os.Open(device)
	if err != nil {
		return time.Time{}, fmt.Errorf("read hardware clock: %w", err)
	}
	defer f.Close()
	r, err := unix.IoctlGetRTCTime(int(f.Fd()))
	if err != nil {
		return time.Time{}, fmt.Errorf("read hardware clock: %w", err)
	}
	return time.Date(int(r.Year)+1900, time.Month(r.Mon+1), int(r.Mday),
		int(r.Hour), int(r.Min), int(r.Sec), 0, time.UTC), nil
}

// chooseTime is the time to set, zero when now is good: the clock never goes
// back here, and a hardware clock is believed only beyond the floor.
func chooseTime(now, rtc, floor time.Time) time.Time {
	best := floor
	if rtc.After(best) {
		best = rtc
	}
	// The kernel set the clock from the hardware clock already, to the second.
	if best.Sub(now) > 2*time.Second {
		return best
	}
	return time.Time{}
}

// raiseClock sets the system clock to the hardware clock or the floor, where
// it is behind.
func raiseClock(log *slog.Logger) error {
	rtc, err := readRTC("/dev/rtc0")
	if err != nil {
		log.Info("no hardware clock", "err", err)
	}
	t := chooseTime(time.Now(), rtc, clockFloor("/etc/os-release", "/usr/bin/init"))
	if t.IsZero() {
		return nil
	}
	log.Warn("clock was behind, setting it", "from", time.Now().UTC(), "to", t.UTC())
	ts := unix.NsecToTimespec(t.UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		return fmt.Errorf("set clock: %w", err)
	}
	return nil
}
