package main

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
)

// bytesText writes a size with the unit of 1024 that keeps it short.
func bytesText(n uint64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, units[0]
	for _, u := range units[1:] {
		if value < 1024 {
			break
		}
		value, unit = value/1024, u
	}
	if value < 10 {
		return fmt.Sprintf("%.1f %s", value, unit)
	}
	return fmt.Sprintf("%.0f %s", value, unit)
}

// seconds writes a time of processors and disks.
func seconds(d *durationpb.Duration) string {
	t := d.AsDuration()
	if t < time.Minute {
		return fmt.Sprintf("%.2fs", t.Seconds())
	}
	return t.Round(time.Second).String()
}

// roundedSeconds writes a time to wait.
func roundedSeconds(d *durationpb.Duration) string { return d.AsDuration().Round(time.Second).String() }
