package config

import (
	"net"
	"regexp"
	"time"
)

// Bounds of rules, so that no number is a slip.
const (
	maxKeep    = 10000
	maxMinAge  = 10 * 366 * 24 * time.Hour
	maxPattern = 256
)

const prefixRules = "what names begin with: up to 40 letters, digits and -_.:, such as hourly-"

// jobName is one that can be part of the prefix of a snapshot.
var jobName = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,37}[a-z0-9])?$`)

const jobRules = "a name of up to 39 lower-case letters, digits and dashes"

func (o *object) snapshotSchedule() SnapshotSchedule {
	s := SnapshotSchedule{
		Name:     o.requiredText("name", jobRules, jobName.MatchString),
		Datasets: o.trees("datasets", true),
		Schedule: o.schedule("schedule"),
		Prefix:   o.text("prefix", prefixRules, prefixForm.MatchString),
	}
	if s.Prefix == "" && s.Name != "" {
		s.Prefix = s.Name + "-"
	}
	o.inner("keep", func(f *object) {
		s.Keep = Keep{
			Last: f.count("last", 0, maxKeep), Hourly: f.count("hourly", 0, maxKeep), Daily: f.count("daily", 0, maxKeep),
			Weekly: f.count("weekly", 0, maxKeep), Monthly: f.count("monthly", 0, maxKeep), Yearly: f.count("yearly", 0, maxKeep),
			Matching: f.text("matching", "a regular expression (RE2) of up to 256 bytes", func(s string) bool {
				_, err := regexp.Compile(s)
				return err == nil && s != "" && len(s) <= maxPattern
			}),
		}
		f.text("minAge", "a duration up to ten years, such as 24h", func(text string) bool {
			d, ok := parseDuration(text)
			if ok = ok && d <= maxMinAge; ok {
				s.Keep.MinAge = d
			}
			return ok
		})
	})
	return s
}

func (o *object) replicationJob() ReplicationJob {
	j := ReplicationJob{
		Name:      o.requiredText("name", jobRules, jobName.MatchString),
		UUID:      o.requiredText("uuid", "a UUID in lower case, such as uuidgen prints, that no other job has", uuidForm.MatchString),
		Direction: Direction(o.requiredText("direction", "push or pull", isOneOf([]string{string(DirectionPush), string(DirectionPull)}))),
		Peer:      o.peer(),
		Sources:   o.trees("sources", false),
		Target:    o.requiredText("target", datasetRules, isDatasetName),
		Prefix:    o.text("prefix", prefixRules, prefixForm.MatchString),
		Schedule:  o.schedule("schedule"),
		Promoted:  o.boolean("promoted"),

		PeerRetired: o.boolean("peerRetired"),

		Guarantee: Guarantees{GuaranteeResumability, GuaranteeResumability},

		Run:         choice(o, "run", RunHere, RunPeer),
		Compression: choice(o, "compression", CompressionStored, CompressionNone),
		History:     choice(o, "history", HistoryAll, HistoryLatest),
		Verify:      o.boolean("verify"),
	}
	j.BandwidthBytes = o.size("bandwidth", "how much may be sent in a second, from 64KiB, such as 100MiB", func(n uint64) bool { return n >= 64<<10 })
	o.inner("guarantee", func(f *object) {
		j.Guarantee.Initial = choice(f, "initial", GuaranteeResumability, GuaranteeIncremental, GuaranteeNone)
		j.Guarantee.Incremental = choice(f, "incremental", GuaranteeResumability, GuaranteeIncremental, GuaranteeNone)
	})
	for i, t := range j.Sources {
		for _, other := range j.Sources[:i] {
			// What one leaves out is refused as a source of its own, too: below the target it would lie in the other's replica.
			if t.Name != other.Name && !other.covers(t.Name) && !t.covers(other.Name) && overlap(t.Name, other.Name) {
				o.fail("sources", "%s and %s lie in each other, expected a job of its own for what is left out", other.Name, t.Name)
			}
		}
	}
	if j.Promoted && j.Direction == DirectionPush {
		o.fail("promoted", "this node has the source, expected it on the node that receives")
	}
	if j.PeerRetired && j.Direction == DirectionPush {
		o.fail("peerRetired", "this node has the source, expected it on the node that receives")
	}
	switch {
	case j.Run == RunHere && j.Schedule == (Schedule{}):
		j.Schedule, _ = parseSchedule(defaultReplication)
	case j.Run == RunPeer && j.Schedule != (Schedule{}):
		o.fail("schedule", "the peer runs this job, expected it in the peer's document only")
	}
	return j
}

func (o *object) peer() (p Peer) {
	node := o.require("peer", "a mapping with the address of the other node")
	if node == nil {
		return p
	}
	f := o.d.object(node, o.field("peer"))
	if f == nil {
		return p
	}
	p.Address = f.requiredText("address", "a host, with a port unless that is "+defaultAPIPort+", such as node2.example or 10.5.0.3:50000", isServer)
	p.Identity = f.text("identity", "a name or address in the certificate of the other node's API", func(s string) bool {
		_, ok := parseSAN(s)
		return ok
	})
	if ca := f.values["ca"]; ca == nil || isNull(ca) {
		f.take("ca")
	} else {
		p.CA = f.secret("ca", "a PEM certificate of an authority (CA:TRUE)", isAuthority).Reveal()
	}
	f.done()
	if p.Address == "" {
		return p
	}
	host, _, err := net.SplitHostPort(p.Address)
	if err != nil {
		host = p.Address
		p.Address = net.JoinHostPort(host, defaultAPIPort)
	}
	if p.Identity == "" {
		p.Identity = host
	}
	return p
}
