package config

import "strconv"

// storageDocuments are those of which there may be several, each with a name.
func storageDocuments() []Document {
	return []Document{
		{
			Kind: "Pool", Doc: "A pool of ZFS that the node looks after: makes, imports, grows and scrubs. There may be several. The system's own is not declared.",
			Fields: poolFields(),
		},
		{
			Kind: "Dataset", Fields: datasetFields(),
			Doc: "A file system or volume that the node makes, and whose properties it sets. There may be several. One that is removed is left as it is.",
		},
		{
			Kind: "SnapshotSchedule", Doc: "When snapshots of some datasets are made, and which of them are kept. There may be several.",
			Fields: []Field{
				{Name: "name", Doc: "What the schedule is called.", Type: TypeText, Required: true},
				{
					Name: "datasets", Type: TypeObject, List: true, Required: true, Fields: treeFields(),
					Doc: "What snapshots are made of: each with all below it at one moment.",
				},
				scheduleField("schedule", "When they are made, in UTC. Without it none are, and those that were received are pruned.", ""),
				{
					Name: "prefix", Type: TypeText, Pattern: prefixForm.String(),
					Doc: "What their names begin with, before the time. Only snapshots with such names are ever pruned. " +
						"It is the schedule's name with a dash, if left out.",
				},
				{Name: "keep", Doc: "Which snapshots stay: those that any of these rules keeps. Without any, all do.", Type: TypeObject, Fields: keepFields()},
			},
		},
		{
			Kind: "ReplicationJob", Doc: "What brings snapshots from this node to another, or from another to this one. There may be several.",
			Fields: jobFields(),
		},
	}
}

func scheduleField(name, doc, fallback string) Field {
	return Field{Name: name, Doc: doc, Type: TypeText, Pattern: schedulePattern, Default: fallback}
}

func poolFields() []Field {
	group := func(name, doc string) Field {
		return Field{Name: name, Doc: doc, Type: TypeObject, List: true, Fields: []Field{
			{
				Name: "layout", Doc: "How the disks keep the data. Those of single have no copies: if one fails, all is lost.", Type: TypeText,
				Default: string(LayoutSingle), Values: wordsOf([]Layout{LayoutSingle, LayoutMirror, LayoutRAIDZ1, LayoutRAIDZ2, LayoutRAIDZ3}),
			},
			{Name: "disks", Doc: "The disks, each told by what it says of itself.", Type: TypeObject, List: true, Required: true, Fields: diskFields()},
		}}
	}
	return []Field{
		{Name: "name", Doc: "The pool's name.", Type: TypeText, Required: true},
		{
			Name: "guid", Type: TypeText, Pattern: "^[1-9][0-9]{0,19}$",
			Doc: "The pool's number, to tell it from another of its name. With it, the pool is imported and never made.",
		},
		{
			Name: "presence", Doc: "Whether it is to be there. A pool is destroyed only when a person has confirmed that by its name.", Type: TypeText,
			Default: string(PoolImported), Values: wordsOf([]Presence{PoolImported, PoolExported, PoolDestroyed}),
		},
		group("data", "The groups of disks that hold the data. Without any, the pool is imported and never made."),
		group("special", "Groups for what leads to data, and small blocks. If one is lost, the pool is."),
		group("dedup", "Groups for the tables of deduplication. If one is lost, the pool is."),
		group("log", "Groups that take synchronous writes first: single or mirror."),
		{Name: "cache", Doc: "Disks that keep what is read often.", Type: TypeObject, List: true, Fields: diskFields()},
		{Name: "spares", Doc: "Disks that stand in for one that fails.", Type: TypeObject, List: true, Fields: diskFields()},
		{Name: "ashift", Doc: "The size of a sector as a power of two, 9 to 16; fixed for a group when it is made. Without it the disks say.", Type: TypeCount},
		{Name: "autoexpand", Doc: "Whether ZFS grows the pool by itself (autoexpand). The node grows it with its disks in any case.", Type: TypeBool, Default: "false"},
		{Name: "autotrim", Doc: "Whether disks are told at once what is free.", Type: TypeBool, Default: strconv.FormatBool(defaultAutotrim)},
		{
			Name: "compatibility", Type: TypeText, Default: compatibilities()[0],
			Doc: "The features that the pool may have, so that a release before this one can import it.", Values: compatibilities(),
		},
		{Name: "failmode", Doc: "What writes do when the disks are gone.", Type: TypeText, Default: failmodes()[0], Values: failmodes()},
		{
			Name: "encryption", Type: TypeText, Default: string(PoolEncryptionAuto),
			Values: wordsOf([]PoolEncryption{PoolEncryptionAuto, PoolEncryptionLUKS2, PoolEncryptionNone}),
			Doc:    "Whether its disks are encrypted. By auto, a new pool is where the node's own volumes are, and one that is there stays as it is.",
		},
		{Name: "multihost", Doc: "Whether the pool is kept from being imported by two machines at once, where disks are shared. The node turns it on, and never off.", Type: TypeBool, Default: "false"},
		{Name: "readOnly", Doc: "Whether it is imported to be read only.", Type: TypeBool, Default: "false"},
		{Name: "rewind", Doc: "Whether a damaged pool may go back some seconds. What that loses is shown, and has to be confirmed.", Type: TypeBool, Default: "false"},
		scheduleField("scrub", "When all data is read and checked, in UTC. Without it, never.", ""),
		scheduleField("trim", "When disks are told what is free, in UTC. Without it, never, but for autotrim.", ""),
	}
}

func diskFields() []Field {
	return []Field{
		{Name: "serial", Doc: "The disk's serial number.", Type: TypeText},
		{Name: "wwn", Doc: "Its world wide name.", Type: TypeText},
		{Name: "path", Doc: "Where it is attached.", Type: TypeText},
		{Name: "model", Doc: "Its model.", Type: TypeText},
		{Name: "type", Doc: "What it is.", Type: TypeText, Values: []string{"ssd", "hdd", "nvme"}},
		{Name: "bus", Doc: "How it is attached, such as nvme, ata, scsi or virtio.", Type: TypeText},
		{Name: "sizes", Doc: "Conditions on its size, such as >=100GB.", Type: TypeText, List: true},
	}
}

func datasetFields() []Field {
	var native []Field
	for _, p := range properties() {
		native = append(native, p.field())
	}
	return []Field{
		{Name: "name", Doc: "The whole name, such as tank/data. Its pool is declared too, or it lies below " + SystemVolumes + ".", Type: TypeText, Required: true},
		{Name: "volume", Doc: "Makes it a volume, a block device, in the place of a file system.", Type: TypeObject, Fields: []Field{
			{Name: "size", Doc: "Its size, such as 10GiB. It can be made larger, never smaller.", Type: TypeSize, Required: true},
			{Name: "blockSize", Doc: "The size of its blocks: a power of two from 512 to 16MiB; fixed when it is made.", Type: TypeSize},
			{Name: "sparse", Doc: "Whether it takes room only for what is written to it.", Type: TypeBool, Default: "false"},
		}},
		{
			Name: "properties", Type: TypeObject, Fields: native,
			Doc: "Properties of ZFS. One that is removed here is inherited again; one that is not here is nobody's but yours.",
		},
		{Name: "userProperties", Doc: "Properties of your own, with a colon in their names.", Type: TypeMap, Pattern: userNamePattern},
	}
}

func treeFields() []Field {
	return []Field{
		{Name: "name", Doc: "A dataset, by its whole name.", Type: TypeText, Required: true},
		{Name: "recursive", Doc: "Whether all below it is taken, too.", Type: TypeBool, Default: strconv.FormatBool(defaultRecursive)},
		{Name: "exclude", Doc: "Datasets below it that are left out, with all below them.", Type: TypeText, List: true},
	}
}

// sourceTreeFields are those of a tree that is taken whole.
func sourceTreeFields() []Field {
	fields := treeFields()
	return []Field{fields[0], fields[2]}
}

func keepFields() []Field {
	return []Field{
		{Name: "last", Doc: "How many of the newest stay.", Type: TypeCount},
		{Name: "hourly", Doc: "Of how many hours that have snapshots the last one stays, in UTC as all of these.", Type: TypeCount},
		{Name: "daily", Doc: "Of how many days the last one stays.", Type: TypeCount},
		{Name: "weekly", Doc: "Of how many weeks, from Monday on, the last one stays.", Type: TypeCount},
		{Name: "monthly", Doc: "Of how many months the last one stays.", Type: TypeCount},
		{Name: "yearly", Doc: "Of how many years the last one stays.", Type: TypeCount},
		{Name: "matching", Doc: "A regular expression (RE2) for names that are never pruned.", Type: TypeText},
		{Name: "minAge", Doc: "How old a snapshot is at least before it goes.", Type: TypeDuration},
	}
}

func jobFields() []Field {
	guarantee := func(name, doc string) Field {
		return Field{
			Name: name, Doc: doc, Type: TypeText, Default: string(GuaranteeResumability),
			Values: wordsOf([]Guarantee{GuaranteeResumability, GuaranteeIncremental, GuaranteeNone}),
		}
	}
	return []Field{
		{Name: "name", Doc: "What the job is called.", Type: TypeText, Required: true},
		{
			Name: "uuid", Type: TypeText, Required: true, Pattern: uuidForm.String(),
			Doc: "What the job is known by on disk, also when its name changes. It is that of no other job.",
		},
		{
			Name: "direction", Doc: "Whether this node sends to the other, or fetches from it.", Type: TypeText, Required: true,
			Values: wordsOf([]Direction{DirectionPush, DirectionPull}),
		},
		{Name: "peer", Doc: "The other node.", Type: TypeObject, Required: true, Fields: []Field{
			{Name: "address", Doc: "Where its API is reached: a name or address, with a port unless that is " + defaultAPIPort + ".", Type: TypeText, Required: true},
			{
				Name: "identity", Type: TypeText,
				Doc: "A name or address that its certificate has to have, when it is called and when it calls. It is that of the address, if left out.",
			},
			{Name: "ca", Doc: "The authority of its certificate, PEM. It is this node's own, if left out.", Type: TypeText},
		}},
		{Name: "sources", Doc: "What is sent, with all below it. A whole pool, such as tank, can be failed over, and not be failed back to.", Type: TypeObject, List: true, Required: true, Fields: sourceTreeFields()},
		{
			Name: "target", Type: TypeText, Required: true,
			Doc: "The dataset of the node that receives, below which all lies under its whole name. Nothing there is mounted.",
		},
		{Name: "guarantee", Doc: "What can be relied on, at the cost of room that old snapshots take meanwhile.", Type: TypeObject, Fields: []Field{
			guarantee("initial", "That of the first time."), guarantee("incremental", "That of all others."),
		}},
		{Name: "bandwidth", Doc: "How much is sent in a second at most, such as 100MiB.", Type: TypeSize},
		{Name: "prefix", Doc: "Sends only snapshots whose names begin with it.", Type: TypeText, Pattern: prefixForm.String()},
		scheduleField("schedule", "When the job runs, in UTC. With an interval, it also runs when this node has made a snapshot of what it sends.", defaultReplication),
		{
			Name: "promoted", Type: TypeBool, Default: "false",
			Doc: "Whether this node received, and was failed over to: then what is below the target may be declared. The job stays, or the old primary is not told.",
		},
		{
			Name: "peerRetired", Type: TypeBool, Default: "false",
			Doc: "Whether the old primary is fenced for good, or gone: then the job may be taken out though this node was failed over to.",
		},
		{
			Name: "run", Type: TypeText, Default: string(RunHere), Values: wordsOf([]Place{RunHere, RunPeer}),
			Doc: "Who does the work. The other node has a document of the same job, which lets it: there, run is the other word, and direction too.",
		},
		{
			Name: "compression", Type: TypeText, Default: string(CompressionStored), Values: wordsOf([]Compression{CompressionStored, CompressionNone}),
			Doc: "How blocks are sent: as they are stored, compressed, or unpacked. It cannot change while a replica lives, and is the same on both nodes.",
		},
		{
			Name: "history", Type: TypeText, Default: string(HistoryAll), Values: wordsOf([]History{HistoryAll, HistoryLatest}),
			Doc: "What a replica begins with: all snapshots that there are, or the latest alone.",
		},
		{
			Name: "verify", Type: TypeBool, Default: "false",
			Doc: "Whether both nodes read all files of each snapshot that was received, and compare them. It takes as long as reading them, each time.",
		},
	}
}
