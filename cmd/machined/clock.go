package main

import (
	"fmt"
	"math/bits"
	"time"

	"golang.org/x/sys/unix"
)

// kernelClock implements timesync.Clock by adjtimex(2). While the kernel counts as synchronised, which Slew makes it, it also sets the hardware clock every
// eleven minutes (kernel/time/ntp.c, sync_hw_clock).
type kernelClock struct{}

// Step implements timesync.Clock.
func (kernelClock) Step(offset time.Duration) error {
	// ADJ_SETOFFSET takes a time whose fraction is not negative, in nanoseconds with ADJ_NANO.
	seconds, fraction := offset/time.Second, offset%time.Second
	if fraction < 0 {
		seconds, fraction = seconds-1, fraction+time.Second
	}
	t := unix.Timex{Modes: unix.ADJ_SETOFFSET | unix.ADJ_NANO, Time: unix.Timeval{Sec: int64(seconds), Usec: int64(fraction)}}
	if _, err := unix.Adjtimex(&t); err != nil {
		return fmt.Errorf("adjtimex: %w", err)
	}
	return nil
}

// Slew implements timesync.Clock. The constant of the loop is the binary logarithm of the time between corrections in seconds, less 4, which is SHIFT_PLL and
// 2 (include/linux/timex.h): the loop then has brought most of an offset in by the next one.
func (kernelClock) Slew(offset, distance, poll time.Duration) error {
	t := unix.Timex{
		Modes:  unix.ADJ_OFFSET | unix.ADJ_STATUS | unix.ADJ_NANO | unix.ADJ_TIMECONST | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR,
		Status: unix.STA_PLL, Offset: offset.Nanoseconds(), Constant: int64(max(bits.Len64(uint64(poll/time.Second))-1-4, 0)),
		Maxerror: distance.Microseconds(), Esterror: offset.Abs().Microseconds(),
	}
	if _, err := unix.Adjtimex(&t); err != nil {
		return fmt.Errorf("adjtimex: %w", err)
	}
	return nil
}

// Kept implements timesync.Clock. The kernel takes its clock for unsynchronised at its start, and again once the error may have grown to 16 s, which takes some
// nine hours without a correction (kernel/time/ntp.c, second_overflow).
func (kernelClock) Kept() bool {
	var t unix.Timex
	_, err := unix.Adjtimex(&t) // modes of 0 only read, which needs no privilege and does not fail
	return err == nil && t.Status&unix.STA_UNSYNC == 0
}
