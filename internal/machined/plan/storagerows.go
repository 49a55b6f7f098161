package plan

import (
	"slices"

	"github.com/cyvive/cyvive/internal/machined/config"
)

// storageFields are the rows of documents about storage. What ZFS does not do with what is there, such as another ashift, is a condition of the pool or
// dataset; here is only what would make another thing of it.
func storageFields() []field {
	return slices.Concat(poolFields(), datasetFields(), scheduleFields(), jobFields())
}

func poolFields() []field {
	type pool = config.Pool
	s := documents[pool]{"Pool", func(c *config.Config) *[]pool { return &c.Pools }, func(p pool) string { return p.Name }}
	return []field{
		s.names(), s.live("guid", func(p pool) any { return p.GUID }), s.live("presence", func(p pool) any { return p.Presence }),
		s.live("data", func(p pool) any { return p.Data }), s.live("special", func(p pool) any { return p.Special }),
		s.live("dedup", func(p pool) any { return p.Dedup }), s.live("log", func(p pool) any { return p.Log }),
		s.live("cache", func(p pool) any { return p.Cache }), s.live("spares", func(p pool) any { return p.Spares }),
		s.live("ashift", func(p pool) any { return p.Ashift }), s.live("autoexpand", func(p pool) any { return p.Autoexpand }),
		s.live("autotrim", func(p pool) any { return p.Autotrim }), s.live("compatibility", func(p pool) any { return p.Compatibility }),
		s.live("failmode", func(p pool) any { return p.Failmode }), s.live("multihost", func(p pool) any { return p.Multihost }),
		s.live("readOnly", func(p pool) any { return p.ReadOnly }), s.live("rewind", func(p pool) any { return p.Rewind }),
		s.live("scrub", func(p pool) any { return p.Scrub }), s.live("trim", func(p pool) any { return p.Trim }),
		s.live("encryption", func(p pool) any { return p.Encryption }),
	}
}

func datasetFields() []field {
	type dataset = config.Dataset
	s := documents[dataset]{"Dataset", func(c *config.Config) *[]dataset { return &c.Datasets }, func(d dataset) string { return d.Name }}
	volume := s.fixed("volume", func(d dataset) any { return d.Volume }, judgeVolume, func(to *dataset, from dataset) { to.Volume = from.Volume })
	volume.when = "live if it becomes larger; else never: declare another"
	return []field{
		s.names(), s.live("properties", func(d dataset) any { return d.Properties }),
		s.live("userProperties", func(d dataset) any { return d.UserProperties }), volume,
	}
}

// judgeVolume says why a dataset does not become another.
func judgeVolume(from, to config.Dataset) string {
	a, b := from.Volume, to.Volume
	switch {
	case a == nil && b == nil:
		return ""
	case a == nil || b == nil:
		return "a file system does not become a volume, nor a volume a file system; declare another dataset"
	case b.SizeBytes < a.SizeBytes:
		return "a volume is never shrunk, since what lies behind its end would be lost"
	case a.BlockBytes != b.BlockBytes || a.Sparse != b.Sparse:
		return "blockSize and sparse are for the life of a volume; declare another dataset"
	}
	return ""
}

func scheduleFields() []field {
	type schedule = config.SnapshotSchedule
	s := documents[schedule]{
		"SnapshotSchedule", func(c *config.Config) *[]schedule { return &c.SnapshotSchedules }, func(s schedule) string { return s.Name },
	}
	return []field{
		s.names(), s.live("datasets", func(s schedule) any { return s.Datasets }), s.live("schedule", func(s schedule) any { return s.Schedule }),
		s.live("prefix", func(s schedule) any { return s.Prefix }), s.live("keep", func(s schedule) any { return s.Keep }),
	}
}

func jobFields() []field {
	type job = config.ReplicationJob
	s := documents[job]{"ReplicationJob", func(c *config.Config) *[]job { return &c.ReplicationJobs }, func(j job) string { return j.Name }}
	another := func(value func(job) any, why string) func(from, to job) string {
		return func(from, to job) string {
			if same(value(from), value(to)) {
				return ""
			}
			return why
		}
	}
	uuid := func(j job) any { return j.UUID }
	direction := func(j job) any { return j.Direction }
	compression := func(j job) any { return j.Compression }
	return []field{
		s.names(),
		s.fixed("uuid", uuid, another(uuid, "what the job keeps on disk is known by it; remove the job, and add another"),
			func(to *job, from job) { to.UUID = from.UUID }),
		s.fixed("direction", direction, another(direction, "who has the source is for the life of a job; remove the job, and add another"),
			func(to *job, from job) { to.Direction = from.Direction }),
		s.live("peer", func(j job) any { return j.Peer }), s.live("sources", func(j job) any { return j.Sources }),
		s.live("target", func(j job) any { return j.Target }), s.live("guarantee", func(j job) any { return j.Guarantee }),
		s.live("bandwidth", func(j job) any { return j.BandwidthBytes }), s.live("prefix", func(j job) any { return j.Prefix }),
		s.live("schedule", func(j job) any { return j.Schedule }), s.live("run", func(j job) any { return j.Run }),
		s.live("promoted", func(j job) any { return j.Promoted }), s.live("peerRetired", func(j job) any { return j.PeerRetired }),
		s.fixed("compression", compression, another(compression, "how a replica's streams are made is for its life; remove the job, and add another"),
			func(to *job, from job) { to.Compression = from.Compression }),
		s.live("history", func(j job) any { return j.History }), s.live("verify", func(j job) any { return j.Verify }),
	}
}
