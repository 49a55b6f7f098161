package config

import (
	"strconv"

	"github.com/cyvive/cyvive/internal/size"
)

// The documents about storage as Marshal writes them.
type (
	poolDoc struct {
		header        `yaml:",inline"`
		Name          string     `yaml:"name"`
		GUID          string     `yaml:"guid,omitempty"`
		Presence      string     `yaml:"presence,omitempty"`
		Data          []groupDoc `yaml:"data,omitempty"`
		Special       []groupDoc `yaml:"special,omitempty"`
		Dedup         []groupDoc `yaml:"dedup,omitempty"`
		Log           []groupDoc `yaml:"log,omitempty"`
		Cache         []diskSel  `yaml:"cache,omitempty"`
		Spares        []diskSel  `yaml:"spares,omitempty"`
		Ashift        int        `yaml:"ashift,omitempty"`
		Autoexpand    bool       `yaml:"autoexpand"`
		Autotrim      bool       `yaml:"autotrim"`
		Compatibility string     `yaml:"compatibility,omitempty"`
		Failmode      string     `yaml:"failmode,omitempty"`
		Encryption    string     `yaml:"encryption,omitempty"`
		Multihost     bool       `yaml:"multihost"`
		ReadOnly      bool       `yaml:"readOnly"`
		Rewind        bool       `yaml:"rewind"`
		Scrub         string     `yaml:"scrub,omitempty"`
		Trim          string     `yaml:"trim,omitempty"`
	}
	groupDoc struct {
		Layout string    `yaml:"layout,omitempty"`
		Disks  []diskSel `yaml:"disks"`
	}
	diskSel struct {
		Serial string   `yaml:"serial,omitempty"`
		WWN    string   `yaml:"wwn,omitempty"`
		Path   string   `yaml:"path,omitempty"`
		Model  string   `yaml:"model,omitempty"`
		Type   string   `yaml:"type,omitempty"`
		Bus    string   `yaml:"bus,omitempty"`
		Sizes  []string `yaml:"sizes,omitempty"`
	}
	datasetDoc struct {
		header         `yaml:",inline"`
		Name           string            `yaml:"name"`
		Volume         volumeDoc         `yaml:"volume,omitempty"`
		Properties     map[string]string `yaml:"properties,omitempty"`
		UserProperties map[string]string `yaml:"userProperties,omitempty"`
	}
	volumeDoc struct {
		Size      string `yaml:"size"`
		BlockSize string `yaml:"blockSize,omitempty"`
		Sparse    bool   `yaml:"sparse"`
	}
	snapshotScheduleDoc struct {
		header   `yaml:",inline"`
		Name     string    `yaml:"name"`
		Datasets []treeDoc `yaml:"datasets"`
		Schedule string    `yaml:"schedule,omitempty"`
		Prefix   string    `yaml:"prefix,omitempty"`
		Keep     keepDoc   `yaml:"keep,omitempty"`
	}
	treeDoc struct {
		Name      string   `yaml:"name"`
		Recursive bool     `yaml:"recursive"`
		Exclude   []string `yaml:"exclude,omitempty"`
	}
	keepDoc struct {
		Last     int    `yaml:"last,omitempty"`
		Hourly   int    `yaml:"hourly,omitempty"`
		Daily    int    `yaml:"daily,omitempty"`
		Weekly   int    `yaml:"weekly,omitempty"`
		Monthly  int    `yaml:"monthly,omitempty"`
		Yearly   int    `yaml:"yearly,omitempty"`
		Matching string `yaml:"matching,omitempty"`
		MinAge   string `yaml:"minAge,omitempty"`
	}
	replicationJobDoc struct {
		header    `yaml:",inline"`
		Name      string       `yaml:"name"`
		UUID      string       `yaml:"uuid"`
		Direction string       `yaml:"direction"`
		Peer      peerDoc      `yaml:"peer"`
		Sources   []wholeTree  `yaml:"sources"`
		Target    string       `yaml:"target"`
		Guarantee guaranteeDoc `yaml:"guarantee,omitempty"`
		Bandwidth string       `yaml:"bandwidth,omitempty"`
		Prefix    string       `yaml:"prefix,omitempty"`
		Schedule  string       `yaml:"schedule,omitempty"`
		Promoted  bool         `yaml:"promoted,omitempty"`

		PeerRetired bool `yaml:"peerRetired,omitempty"`

		Run         string `yaml:"run,omitempty"`
		Compression string `yaml:"compression,omitempty"`
		History     string `yaml:"history,omitempty"`
		Verify      bool   `yaml:"verify,omitempty"`
	}
	wholeTree struct {
		Name    string   `yaml:"name"`
		Exclude []string `yaml:"exclude,omitempty"`
	}
	peerDoc struct {
		Address  string `yaml:"address"`
		Identity string `yaml:"identity,omitempty"`
		CA       string `yaml:"ca,omitempty"`
	}
	guaranteeDoc struct {
		Initial     string `yaml:"initial,omitempty"`
		Incremental string `yaml:"incremental,omitempty"`
	}
)

// storage writes the documents about storage.
func storage(cfg *Config) []any {
	var docs []any
	for _, p := range cfg.Pools {
		docs = append(docs, pool(p))
	}
	for _, d := range cfg.Datasets {
		docs = append(docs, dataset(d))
	}
	for _, s := range cfg.SnapshotSchedules {
		k := s.Keep
		doc := snapshotScheduleDoc{
			header: header{APIVersion, "SnapshotSchedule"}, Name: s.Name, Datasets: trees(s.Datasets), Schedule: s.Schedule.String(), Prefix: s.Prefix,
			Keep: keepDoc{k.Last, k.Hourly, k.Daily, k.Weekly, k.Monthly, k.Yearly, k.Matching, ""},
		}
		if k.MinAge != 0 {
			doc.Keep.MinAge = durationText(k.MinAge)
		}
		docs = append(docs, doc)
	}
	for _, j := range cfg.ReplicationJobs {
		var sources []wholeTree
		for _, t := range j.Sources {
			sources = append(sources, wholeTree{t.Name, t.Exclude})
		}
		docs = append(docs, replicationJobDoc{
			header: header{APIVersion, "ReplicationJob"}, Name: j.Name, UUID: j.UUID, Direction: string(j.Direction), Peer: peerDoc(j.Peer),
			Sources: sources, Target: j.Target, Guarantee: guaranteeDoc{string(j.Guarantee.Initial), string(j.Guarantee.Incremental)},
			Bandwidth: optionalSize(j.BandwidthBytes), Prefix: j.Prefix, Schedule: j.Schedule.String(), Promoted: j.Promoted, PeerRetired: j.PeerRetired,
			Run: string(j.Run), Compression: string(j.Compression), History: string(j.History), Verify: j.Verify,
		})
	}
	return docs
}

func pool(p Pool) poolDoc {
	doc := poolDoc{
		header: header{APIVersion, "Pool"}, Name: p.Name, Presence: string(p.Presence), Ashift: p.Ashift, Autoexpand: p.Autoexpand, Autotrim: p.Autotrim,
		Compatibility: p.Compatibility, Failmode: p.Failmode, Multihost: p.Multihost, ReadOnly: p.ReadOnly, Rewind: p.Rewind, Encryption: string(p.Encryption),
		Data: groups(p.Data), Special: groups(p.Special), Dedup: groups(p.Dedup), Log: groups(p.Log), Cache: selectors(p.Cache), Spares: selectors(p.Spares),
		Scrub: p.Scrub.String(), Trim: p.Trim.String(),
	}
	if p.GUID != 0 {
		doc.GUID = strconv.FormatUint(p.GUID, 10)
	}
	return doc
}

func groups(list []DiskGroup) []groupDoc {
	var out []groupDoc
	for _, g := range list {
		out = append(out, groupDoc{string(g.Layout), selectors(g.Disks)})
	}
	return out
}

func selectors(list []DiskSelector) []diskSel {
	var out []diskSel
	for _, s := range list {
		out = append(out, diskSel{s.Serial, s.WWN, s.Path, s.Model, s.Type, s.Bus, s.Sizes})
	}
	return out
}

func dataset(d Dataset) datasetDoc {
	doc := datasetDoc{header: header{APIVersion, "Dataset"}, Name: d.Name, UserProperties: d.UserProperties, Properties: map[string]string{}}
	if v := d.Volume; v != nil {
		doc.Volume = volumeDoc{size.Text(v.SizeBytes), optionalSize(v.BlockBytes), v.Sparse}
	}
	for _, p := range properties() {
		value, ok := d.Properties[p.name]
		if n, err := strconv.ParseUint(value, 10, 64); p.size != nil && err == nil {
			value = size.Text(n)
		}
		if ok {
			doc.Properties[p.name] = value
		}
	}
	return doc
}

func trees(list []DatasetTree) []treeDoc {
	var out []treeDoc
	for _, t := range list {
		out = append(out, treeDoc(t))
	}
	return out
}

func optionalSize(n uint64) string {
	if n == 0 {
		return ""
	}
	return size.Text(n)
}
