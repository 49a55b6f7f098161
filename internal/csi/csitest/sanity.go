package csitest

import (
	"slices"
	"strings"
)

// LeftOut tells whether csi-sanity skips a spec for a reason that says nothing about this driver. All other specs have to run.
func LeftOut(reason string) bool {
	return slices.ContainsFunc([]string{
		"Controller Publish, UnpublishVolume not supported", "ControllerPublishVolume not supported", "ControllerUnpublishVolume not supported",
		"SNAPSHOT_ACCESSIBILITY_CONSTRAINTS not supported",
	}, func(part string) bool { return strings.Contains(reason, part) })
}
