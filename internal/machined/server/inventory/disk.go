package inventory

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
)

const (
	// sectorBytes is the unit of size in /sys/block, on every disk
	// (Documentation/ABI/stable/sysfs-block).
	sectorBytes = 512
	maxDisks    = 1024
)

// parseMemTotal returns MemTotal of proc_meminfo(5), which counts in KiB.
func parseMemTotal(text string) uint64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 54)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}

// disks reads the disks that stand for hardware: what is made of other devices has no
// device of its own.
func (l *look) disks() []*inventoryv1.Disk {
	var out []*inventoryv1.Disk
	for _, name := range l.names("sys/block") {
		dir := "sys/block/" + name
		place := l.device(dir)
		// One path of several to an NVMe disk is a hidden disk.
		if len(out) == maxDisks || !l.exists(dir, "device") || l.text(dir, "hidden") == "1" || !isDisk(l.text(dir, "device/type")) {
			continue
		}
		out = append(out, l.disk(dir, name, place))
	}
	return out
}

// isDisk tells by SCSI's type of a device, which others than SCSI do not have: 0 is a
// disk, 20 one with zones; a drive for CDs is 5.
func isDisk(kind string) bool { return kind == "" || kind == "0" || kind == "20" }

func (l *look) disk(dir, name, place string) *inventoryv1.Disk {
	sectors := l.number(dir, "size")
	d := &inventoryv1.Disk{
		Name: valid(name), Path: l.stable(name, place), Bus: busOf(name, place), SizeBytes: min(sectors, 1<<54) * sectorBytes,
		LogicalSectorBytes: l.small(dir, "queue/logical_block_size"), PhysicalSectorBytes: l.small(dir, "queue/physical_block_size"),
		Rotational: l.text(dir, "queue/rotational") == "1", Removable: l.text(dir, "removable") == "1", ReadOnly: l.text(dir, "ro") == "1",
		Vendor: l.text(dir, "device/vendor"), Model: cmp.Or(l.text(dir, "device/model"), l.text(dir, "device/name")),
		Serial:   cmp.Or(l.text(dir, "serial"), l.text(dir, "device/serial"), l.unitSerial(dir)),
		Firmware: cmp.Or(l.text(dir, "device/firmware_rev"), l.text(dir, "device/rev"), l.text(dir, "device/fwrev")),
		Wwn:      cmp.Or(l.text(dir, "wwid"), l.text(dir, "device/wwid")),
	}
	switch d.GetBus() {
	case inventoryv1.DiskBus_DISK_BUS_VIRTIO:
		d.Vendor = "" // a number that names the kind of device
	case inventoryv1.DiskBus_DISK_BUS_NVME:
		d.Transport = l.text(dir, "device/transport")
	}
	return d
}

// stable is the place of a disk without what may change with a boot. Most disks are in
// a folder "block" of their device, namespaces of NVMe in their controller's.
func (l *look) stable(name, place string) string {
	place = strings.TrimSuffix(strings.TrimSuffix(place, "/"+name), "/block")
	return stablePlace(place, func(ata string) string { return l.text("sys/class/ata_port", ata, "port_no") })
}

// unitSerial reads page 80h of a SCSI disk's vital product data: four bytes, and then
// the serial number (SPC-4, 7.8.18).
func (l *look) unitSerial(dir string) string {
	page, err := l.read(maxFileBytes, dir, "device/vpd_pg80")
	if err != nil {
		return ""
	}
	return parseUnitSerial(page)
}

func parseUnitSerial(page []byte) string {
	const headerBytes, number = 4, 0x80
	if len(page) < headerBytes || page[1] != number {
		return ""
	}
	length := int(page[2])<<8 | int(page[3])
	text := page[headerBytes:]
	return valid(strings.Trim(string(text[:min(length, len(text))]), " \x00"))
}

// busOf tells by a disk's name and its place how it is attached.
func busOf(name, place string) inventoryv1.DiskBus {
	parts := strings.Split(place, "/")
	on := func(prefix string) bool {
		return slices.ContainsFunc(parts, func(p string) bool {
			rest, ok := strings.CutPrefix(p, prefix)
			return ok && rest != "" && strings.Trim(rest, "0123456789") == ""
		})
	}
	switch {
	case strings.HasPrefix(name, "nvme"):
		return inventoryv1.DiskBus_DISK_BUS_NVME
	case strings.HasPrefix(name, "mmcblk"):
		return inventoryv1.DiskBus_DISK_BUS_MMC
	case strings.HasPrefix(name, "xvd"):
		return inventoryv1.DiskBus_DISK_BUS_XEN
	case strings.HasPrefix(name, "vd"):
		return inventoryv1.DiskBus_DISK_BUS_VIRTIO
	case on("usb"):
		return inventoryv1.DiskBus_DISK_BUS_USB
	case on("ata"):
		return inventoryv1.DiskBus_DISK_BUS_ATA
	case strings.HasPrefix(name, "sd"):
		return inventoryv1.DiskBus_DISK_BUS_SCSI
	default:
		return inventoryv1.DiskBus_DISK_BUS_UNSPECIFIED
	}
}
