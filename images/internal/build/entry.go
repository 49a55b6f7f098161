package build

import "fmt"

// The boot loader's entry of the first slot, and what it starts. The node makes
// those of the slots it writes (internal/storage/loader of the root module),
// from the same text. This module does not import that one, whose requirements
// would choose versions for it; testdata/cyvive-a.conf is what the tests of both
// hold theirs against.
const (
	entryPath  = "/loader/entries/cyvive-a.conf"
	kernelPath = "/EFI/cyvive/a.efi"
)

// loaderConf is systemd-boot's loader.conf: no waiting, no editing of the command
// line, and no menu, which with a timeout of 0 a byte on the console still opens
// (loader.conf(5); menu-disabled is known from 257 on). It names no default: the boot loader takes the first entry
// in its own order, which is how a trial comes before what is known to be good.
const loaderConf = "timeout menu-disabled\neditor no\n"

// entry is the text of the entry: generation 1, without a counter in its file's
// name, so that it is started always.
func entry(version string) []byte {
	return fmt.Appendf(nil, "title Cyvive %s\nsort-key cyvive\nversion 1\nefi %s\n", version, kernelPath)
}
