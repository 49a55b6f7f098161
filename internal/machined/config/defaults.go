package config

import (
	"net/netip"
	"time"
)

// Defaults of fields that a document leaves out.
const (
	defaultDNSDomain  = "cluster.local"
	defaultProfile    = ProfileStandard
	defaultVolumes    = VolumesNone
	defaultEncryption = EncryptionNone
	defaultAutotrim   = true
	// defaultRecursive is that of a DatasetTree.
	defaultRecursive = true
	// defaultCompatibility is the set of features that new pools get: that of the oldest OpenZFS which a release may be rolled back to (zpool-features(7)). It
	// is the name of the file that the image has; openzfs-2.3-linux is a link to it elsewhere (cmd/zpool/Makefile.am of OpenZFS 2.3.9).
	defaultCompatibility = "openzfs-2.3"
	// defaultReplication is how often a job runs that does not say.
	defaultReplication = "every 10m"
	// defaultAPIPort is that of the node API.
	defaultAPIPort = "50000"
	// DefaultUpgradeDeadline is also that of a node whose configuration is not known or not valid.
	DefaultUpgradeDeadline = 10 * time.Minute
	// MaxBytes is the largest configuration that Parse reads.
	MaxBytes = 1 << 20
	// MaxExtensions is how many extensions a node uses at most.
	MaxExtensions = 32
)

// MaxGates bounds the gates of the configuration: each is looked at every few seconds while a release is on trial.
const MaxGates = 32

// MaxRegistries and MaxMirrors bound where images come from: a registry's mirrors are asked one behind the other.
const (
	MaxRegistries = 64
	MaxMirrors    = 8
)

// MaxTimeServers bounds the servers that tell the time: all are asked at once.
const MaxTimeServers = 8

// Bounds of the deadline of an upgrade. Init ends a trial by itself some time after the longest (package trial).
const (
	MinUpgradeDeadline = time.Minute
	MaxUpgradeDeadline = time.Hour
)

var (
	defaultPodCIDR     = netip.MustParsePrefix("10.244.0.0/16")
	defaultServiceCIDR = netip.MustParsePrefix("10.96.0.0/12")
)

// DefaultNetwork is the network configuration of a node that has no Network document or no valid configuration at all: the first
// physical link by DHCP.
func DefaultNetwork() Network {
	return Network{Links: []Link{{Name: FirstLink, DHCP: true}}}
}
