package fuzz

// parsers is what reads input that others decide, and by which fuzz tests.
func parsers() map[string][]string {
	return map[string][]string{
		// What a user or a cloud gives the node, and what comes over the network.
		"internal/machined/config": {"FuzzMerge", "FuzzOpen", "FuzzParse", "FuzzRedact", "FuzzTakeOwner", "FuzzTakePassphrase"},
		"internal/size":            {"FuzzParse"},
		"internal/release":         {"FuzzKernelRelease", "FuzzOpen", "FuzzParsePublicKeys"},
		"internal/extension":       {"FuzzOpen", "FuzzParseManifest"},
		"internal/machined/plan":   {"FuzzBuild"},
		"internal/machined/pull":   {"FuzzAnswer", "FuzzContentRange", "FuzzManifest", "FuzzSource"},
		"internal/machined/source": {"FuzzAnswer", "FuzzDocument", "FuzzOEMStrings", "FuzzURL"},
		"internal/machined/server": {"FuzzCall", "FuzzConnection"},
		"internal/network/dhcp":    {"FuzzGrant"},
		"internal/network/rtnl":    {"FuzzParseResolver"},
		"internal/pki":             {"FuzzParse", "FuzzParsePublic"},

		"internal/machined/maintenance": {"FuzzNotice"},
		"internal/machined/peer":        {"FuzzListing", "FuzzRequest"},

		"internal/etcd": {"FuzzParseHealth", "FuzzParseMembers"},
		"internal/kube": {"FuzzIsTrue", "FuzzNextEvent", "FuzzParseDrainPods", "FuzzParseList", "FuzzParseNameservers", "FuzzParseNode", "FuzzParsePods", "FuzzTable"},
		"internal/cni":  {"FuzzAddresses", "FuzzParseConfig"},

		"internal/csi/mounter": {"FuzzCgroup"},

		// Disks, which may hold anything.
		"internal/machined/boot/stage1": {"FuzzReadTable"},
		"internal/machined/boot/verity": {"FuzzParseSuperblock", "FuzzParseTable"},
		"internal/storage/blockdev":     {"FuzzFATLabel", "FuzzISOLabel", "FuzzMounts", "FuzzPartition", "FuzzRecords", "FuzzSuperblock", "FuzzTable", "FuzzTableCopy"},
		"internal/machined/install":     {"FuzzCommandLine", "FuzzNote", "FuzzSelector", "FuzzTable", "FuzzTree"},
		"internal/storage/disk":         {"FuzzSelector"},
		"internal/csi":                  {"FuzzNames", "FuzzParameters"},
		"internal/storage/luks":         {"FuzzForm", "FuzzParseToken", "FuzzReadHeader"},
		"internal/storage/notes":        {"FuzzRead"},
		"internal/storage/zfs/label":    {"FuzzList"},
		"internal/storage/signature":    {"FuzzFind"},
		"internal/storage/zfs":          {"FuzzName", "FuzzProperty", "FuzzSize"},
		"internal/storage/zfs/command":  {"FuzzDiff", "FuzzEstimate", "FuzzHolds", "FuzzList", "FuzzProgram", "FuzzSaid", "FuzzStreamHead", "FuzzToken"},
		"internal/storage/replication":  {"FuzzParseCursor"},
		"internal/storage/snapshots":    {"FuzzIsOf"},
		"internal/storage/zfs/zfstest":  {"FuzzReceive", "FuzzToken"},
		"internal/trust/kms":            {"FuzzParseToken"},
		"internal/trust/passphrase":     {"FuzzParseToken"},
		"internal/trust/pcr":            {"FuzzParse", "FuzzParseKeys", "FuzzPredict"},
		"internal/trust/secureboot":     {"FuzzLists", "FuzzProgram", "FuzzSignature", "FuzzVariable"},
		"internal/trust/tpm":            {"FuzzParseToken", "FuzzSignature"},
		"internal/trust/wrap":           {"FuzzBinding"},
		"internal/container/containerd": {"FuzzArchiveImages", "FuzzParseHistory"},

		"internal/machined/server/inventory/smart": {"FuzzATA", "FuzzNVMe", "FuzzSCSI"},

		// The firmware's memory.
		"internal/machined/boot/trial": {"FuzzParse"},

		// The programs and the kernel's part of OpenZFS, which tell what is on disks.
		"internal/storage/arc":         {"FuzzParsePressure", "FuzzParseStats", "FuzzScarce"},
		"internal/storage/pool/events": {"FuzzNext"},
		"internal/storage/pool/zpool":  {"FuzzParseImportable", "FuzzParseList", "FuzzParseProperties", "FuzzParseRewind", "FuzzParseStatus"},

		// The kernel, and what pods can make it say.
		"internal/machined/boot":             {"FuzzTotalMemory", "FuzzUnmountOrder"},
		"internal/machined/boot/cmdline":     {"FuzzParse"},
		"internal/machined/boot/kmod":        {"FuzzMatch", "FuzzReadIndex"},
		"internal/machined/boot/kmsg":        {"FuzzSplit"},
		"internal/machined/boot/plane":       {"FuzzPopulated", "FuzzReadArgs"},
		"internal/machined/boot/power":       {"FuzzHasKey", "FuzzRead"},
		"internal/machined/boot/uevent":      {"FuzzParse"},
		"internal/machined/server/files":     {"FuzzPath"},
		"internal/machined/server/inventory": {"FuzzCPUInfo", "FuzzProperties", "FuzzTable", "FuzzText"},
		"internal/machined/server/kmsg":      {"FuzzParse"},
		"internal/machined/server/procfs":    {"FuzzParse"},
		"internal/machined/server/workload":  {"FuzzProcesses", "FuzzStartTicks"},

		// What the node wrote itself, and a power cut may have spoilt.
		"internal/audit":                      {"FuzzParseHead", "FuzzParseLine", "FuzzVerifier"},
		"internal/machined":                   {"FuzzCompose", "FuzzMachineID", "FuzzParseRelease", "FuzzPoolMemory"},
		"internal/machined/configstore":       {"FuzzOpen", "FuzzRevision"},
		"internal/machined/crash":             {"FuzzLines", "FuzzParse"},
		"internal/machined/reset":             {"FuzzParse"},
		"internal/machined/upgrade":           {"FuzzRecord"},
		"internal/storage/loader":             {"FuzzCompareVersions", "FuzzParseName", "FuzzParseText", "FuzzProgramVersion"},
		"internal/machined/boot/marker":       {"FuzzParse"},
		"internal/machined/boot/timeline":     {"FuzzParse"},
		"internal/machined/ledger":            {"FuzzParse"},
		"internal/machined/server/auditlog":   {"FuzzOpen"},
		"internal/machined/server/ringlog":    {"FuzzSplitter"},
		"internal/machined/supervise/control": {"FuzzParseRequest", "FuzzParseResponse"},
		"internal/pki/store":                  {"FuzzRead"},

		// A user's files, and a node's answers.
		"cmd/nodectl/contexts":    {"FuzzParse"},
		"cmd/nodectl/discover":    {"FuzzTargets"},
		"internal/trust/recovery": {"FuzzParse"},
		"cmd/nodectl/kubeconfig":  {"FuzzMerge"},
		"cmd/nodectl/output":      {"FuzzClean"},
		"cmd/nodectl/redact":      {"FuzzText"},
		"cmd/nodectl/support":     {"FuzzFileName", "FuzzRecipients"},

		// Packages of distributions, and their mirrors.
		"images/internal/deb":    {"FuzzCompareVersions", "FuzzReadParagraphs", "FuzzWalk"},
		"images/internal/erofs":  {"FuzzGolden", "FuzzParse"},
		"images/internal/kernel": {"FuzzBuiltinInfo", "FuzzParseFirmware", "FuzzParseList", "FuzzReadInfo"},
		"images/internal/lock":   {"FuzzParse"},
		"images/internal/mirror": {"FuzzIndex", "FuzzRelease", "FuzzResolveMirrorFile", "FuzzSources"},
		"images/internal/sbom":   {"FuzzLicenses"},
		"images/internal/tree":   {"FuzzAddTar", "FuzzNeeded", "FuzzResolve"},
		"images/internal/uki":    {"FuzzBuild"},
		"images/programs/demo":   {"FuzzSplitNUL"},
		"images/programs/shim":   {"FuzzGroupOf"},

		// Development: machines, and the machine that runs them.
		"hack/qemu/bench":       {"FuzzCPUTime", "FuzzCardBytes", "FuzzListedPrograms", "FuzzParseMap", "FuzzParseNode", "FuzzParsePeak", "FuzzParseReplication", "FuzzUsedMemory"},
		"hack/qemu/cluster":     {"FuzzHoldsEntries", "FuzzParseHealth", "FuzzParsePod", "FuzzParseRecord", "FuzzParseServices"},
		"hack/qemu/modules":     {"FuzzParseDependencies"},
		"hack/qemu/powercut":    {"FuzzServe"},
		"hack/qemu/preflight":   {"FuzzParseMemAvailable"},
		"hack/qemu/probe":       {"FuzzClient", "FuzzParseStat"},
		"hack/qemu/vm":          {"FuzzClean", "FuzzHasVirtualisation", "FuzzOwnCommandLine", "FuzzParseQMP"},
		"hack/qemu/vmtest/wire": {"FuzzParseResult", "FuzzRead"},
		"hack/release/keys":     {"FuzzParseEntries", "FuzzParsePolicy", "FuzzParsePrivate", "FuzzParseRSA"},
	}
}

// withoutFuzzTest are packages that call decoders and need no fuzz test, each
// with the reason.
func withoutFuzzTest() map[string]string {
	return map[string]string{
		"cmd/nodectl":                           "reads the numbers of its arguments, and takes a text that its user edits apart into lines",
		"cmd/nodectl/editor":                    "takes the name of a program from the environment of its user",
		"cmd/machined":                          "takes the root hash of a manifest that package release has checked",
		"internal/storage/zfs/label/labeltest":  "writes labels for tests",
		"hack/qemu/dial":                        "reads its one argument, which the test that starts it has put together",
		"hack/apidoc":                           "reads the descriptions of this project's own protos, from the compiler",
		"hack/qemu/bench/ramroot":               "reads the root hash that the image builder has written",
		"hack/qemu/bench/ramroot/guest":         "reads a number that the program which started the machine has put into its memory",
		"hack/qemu/guest":                       "reads the plan that the program which started the machine has put into its memory",
		"hack/qemu/probe/guest":                 "takes orders from the program that started the machine, and lists /proc by package probe, which is fuzzed",
		"images/internal/build":                 "reads a list that an earlier step of the same build has written, and the public keys and the description of an extension of whoever builds",
		"images/internal/programs":              "asks the go command for three of its variables, and checks that three came",
		"images/internal/step":                  "shows the end of a log as it is",
		"images/startup":                        "reads a percentage that the node has put into its environment, and says so where it is none",
		"internal/confine/lsm":                  "reads the kernel's list of its security modules",
		"internal/network/bpf":                  "reads maps that only it writes, by the layout of the program it is compiled with",
		"test/e2e/extprobe":                     "counts what it sees in /proc, and how often it was here in a file of its own",
		"test/e2e/attacker":                     "reads what the kernel of the node under attack says; what it gets wrong is an attempt that reports itself as broken",
		"internal/machined/boot/watchdog":       "reads a number that stage 1 has put into its environment",
		"internal/trust/volumes":                "reads the kernel's size of a volume that it has opened, of a token that package luks has read one text, which it compares, and a list of numbers that it has written itself, on an open encrypted volume",
		"internal/machined/hold":                "reads a file in memory that only it writes, and replaces as a whole",
		"internal/machined/keptlog":             "reads a file in memory that only it writes, and replaces as a whole; the logs themselves are read by package ringlog",
		"internal/machined/supervise":           "hands lines on as they are",
		"hack/release/extension":                "reads what the image builder has written beside the image that is to be signed",
		"hack/release/bundle":                   "reads what the image builder has written beside the image that is to be signed",
		"hack/release/media":                    "reads what the image builder has written beside the image, and the kernel image that becomes a medium",
		"hack/release/releasetest":              "writes a file for tests, and reads none",
		"internal/machined/source/sourcetest":   "is a server of tests, and reads what they ask of it",
		"internal/storage/replication/endpoint": "reads numbers of properties, and takes for none what is no number",
		"internal/storage/dataset":              "reads numbers and names of properties from package zfs; what is no number counts as zero",
		"internal/csi/csitest":                  "reads sizes that the model of OpenZFS has written",
		"internal/csi/pools":                    "reads a number that the kernel has written",
		"internal/storage/mount":                "takes targets that package config has checked apart, refuses any other, and reads mounts that the kernel has written",
	}
}
