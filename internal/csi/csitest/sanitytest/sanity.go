// Package sanitytest runs csi-sanity on the driver. It stands apart from csitest since ginkgo adds flags to the program.
package sanitytest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
)

// Run runs the whole of csi-sanity for each kind of volume: a dataset, a device, and a device with a file system. Config is asked for once for each. More
// than the limit is a failure, whatever go test is told. A program may call it once.
func Run(t *testing.T, limit time.Duration, config func() sanity.TestConfig) {
	t.Helper()
	gomega.RegisterFailHandler(ginkgo.Fail)
	for name, change := range map[string]func(*sanity.TestConfig){
		"dataset": func(*sanity.TestConfig) {},
		"block": func(c *sanity.TestConfig) {
			c.TestVolumeAccessType, c.TestVolumeParameters = "block", map[string]string{"sparse": "true"}
		},
		"ext4": func(c *sanity.TestConfig) {
			c.TestVolumeParameters = map[string]string{"fsType": "ext4", "sparse": "true"}
		},
	} {
		c := config()
		c.TestVolumeMutableParameters = map[string]string{"compression": "zstd"}
		c.IdempotentCount = 3
		change(&c)
		ginkgo.Describe(name, func() { sanity.GinkgoTest(&c) })
	}
	ran := 0
	ginkgo.ReportAfterSuite("nothing is left out unnoticed", func(r ginkgo.Report) {
		for _, one := range r.SpecReports {
			why := one.Failure.Message
			if one.State.String() == "skipped" && !leftOut(why) {
				t.Errorf("%s was skipped: %s", one.FullText(), why)
			}
			if one.State.String() == "passed" && strings.Contains(one.FullText(), "Service") {
				ran++
			}
		}
	})
	suite, reporter := ginkgo.GinkgoConfiguration()
	reporter.Succinct = true
	suite.Timeout = limit
	if !ginkgo.RunSpecs(t, "csi-sanity", suite, reporter) {
		t.Error("csi-sanity failed")
	}
	if ran < 3*50 {
		t.Errorf("%d specs passed, expected 150 at least", ran)
	}
}

// leftOut tells whether csi-sanity skips a spec for a reason that says nothing about this driver. All other specs have to run.
func leftOut(reason string) bool {
	return slices.ContainsFunc([]string{
		"Controller Publish, UnpublishVolume not supported", "ControllerPublishVolume not supported", "ControllerUnpublishVolume not supported",
		"SNAPSHOT_ACCESSIBILITY_CONSTRAINTS not supported",
	}, func(part string) bool { return strings.Contains(reason, part) })
}
