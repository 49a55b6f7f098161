// Package hostid is the number by which ZFS tells machines apart: a pool has that of the machine which imported it last, and zpool asks before it imports one of
// another that was not exported (zfs_force_import_required in cmd/zpool/zpool_main.c, OpenZFS 2.3.9). Machines without a number all have 0, and take each other's
// pools for their own.
package hostid

import (
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
)

// Of is the number of a machine with an ID of machine-id(5), and as lasting as that. It is never 0.
func Of(machineID string) uint32 {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(machineID)) // it never fails (hash.Hash)
	return max(sum.Sum32(), 1)
}

// Set gives the kernel's module the number, which the programs read there too (get_spl_hostid in lib/libspl/os/linux/gethostid.c). Sys is where sysfs is mounted. It
// counts for pools that are imported afterwards, and for others from the next time that their configuration is written.
func Set(sys string, id uint32) error {
	path := filepath.Join(sys, "module/spl/parameters/spl_hostid")
	// The file is there with the module. One that is made here would be read by nobody.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return fmt.Errorf("tell ZFS which machine this is: %w", err)
	}
	_, err = f.WriteString(strconv.FormatUint(uint64(id), 10) + "\n")
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("tell ZFS which machine this is: %w", err)
	}
	return nil
}
