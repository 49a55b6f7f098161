// Package e2e holds the tests that drive whole nodes: they boot the image that
// make image built, in QEMU, and talk to it as its users do, through nodectl,
// kubectl and the console.
//
// TestUpgrade, TestBadReleases and the long form of TestPowerCuts build releases from the sources as they are, and sign them with the developer's key, which the image under test trusts.
//
// A cluster takes a few minutes to come up where there is no KVM, so TestCluster
// makes one and runs its parts on it in order; parts that take the node down come
// last. Small machines, without a cluster, run two at a time when these are done
// (besideOthers). What a failed test leaves, console and logs, is kept below out/e2e and
// named in the test's output.
package e2e
