package inventory

import (
	"regexp"
	"strings"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
)

// system reads the maker's words (Documentation/ABI/testing/sysfs-class-dmi), or the
// device tree's where there is no DMI.
func (l *look) system() *inventoryv1.System {
	dmi := func(name string) string { return l.text("sys/class/dmi/id", name) }
	s := &inventoryv1.System{
		Vendor: dmi("sys_vendor"), Product: dmi("product_name"), Version: dmi("product_version"), Serial: dmi("product_serial"),
		Uuid:        strings.ToLower(dmi("product_uuid")),
		BoardVendor: dmi("board_vendor"), BoardProduct: dmi("board_name"), BoardVersion: dmi("board_version"), BoardSerial: dmi("board_serial"),
		ChassisVendor: dmi("chassis_vendor"), ChassisSerial: dmi("chassis_serial"), ChassisAssetTag: dmi("chassis_asset_tag"),
	}
	if s.GetProduct() == "" {
		s.Product, s.Serial = l.text("sys/firmware/devicetree/base/model"), l.text("sys/firmware/devicetree/base/serial-number")
	}
	info, _ := l.read(maxFileBytes, "proc/cpuinfo") // its first processor will do
	s.Virtual = l.text("sys/hypervisor/type") != "" || underHypervisor(string(info))
	return s
}

// globalVariable is the UUID of UEFI's own variables (UEFI 2.10, 3.3).
const globalVariable = "8be4df61-93ca-11d2-aa0d-00e098032b8c"

func (l *look) firmware() *inventoryv1.Firmware {
	return &inventoryv1.Firmware{
		Vendor: l.text("sys/class/dmi/id/bios_vendor"), Version: l.text("sys/class/dmi/id/bios_version"), Date: l.text("sys/class/dmi/id/bios_date"),
		Uefi: l.exists("sys/firmware/efi"), SecureBoot: l.toggle("SecureBoot"), SetupMode: l.toggle("SetupMode"),
		KernelLockdown: parseChosen(l.text("sys/kernel/security/lockdown")),
	}
}

// toggle reads a variable of one byte, behind four of attributes
// (Documentation/filesystems/efivarfs.rst).
func (l *look) toggle(name string) inventoryv1.Toggle {
	const attributes = 4
	data, err := l.read(maxFileBytes, "sys/firmware/efi/efivars", name+"-"+globalVariable)
	l.problem("read the variable "+name, err)
	switch {
	case len(data) != attributes+1 || data[attributes] > 1:
		return inventoryv1.Toggle_TOGGLE_UNSPECIFIED
	case data[attributes] == 1:
		return inventoryv1.Toggle_TOGGLE_ON
	default:
		return inventoryv1.Toggle_TOGGLE_OFF
	}
}

// parseChosen returns the word in brackets: "none [integrity] confidentiality".
func parseChosen(text string) string {
	_, rest, _ := strings.Cut(text, "[")
	word, _, ok := strings.Cut(rest, "]")
	if !ok {
		return ""
	}
	return word
}

// pciDevices reads Documentation/ABI/testing/sysfs-bus-pci.
func (l *look) pciDevices() []*inventoryv1.PCIDevice {
	const dir = "sys/bus/pci/devices"
	var out []*inventoryv1.PCIDevice
	for _, address := range l.names(dir) {
		at := func(name string) string { return strings.TrimPrefix(l.text(dir, address, name), "0x") }
		out = append(out, &inventoryv1.PCIDevice{
			Address: valid(address), Class: at("class"), Vendor: at("vendor"), Device: at("device"),
			SubsystemVendor: at("subsystem_vendor"), SubsystemDevice: at("subsystem_device"), Revision: at("revision"),
			Driver: l.link(dir, address, "driver"),
		})
	}
	return out
}

var pciAddress = regexp.MustCompile(`^[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)

// pciOf is the address of the PCI device that a place is at or behind, the nearest if
// it is behind several.
func pciOf(place string) string {
	address := ""
	for part := range strings.SplitSeq(place, "/") {
		if pciAddress.MatchString(part) {
			address = part
		}
	}
	return address
}

// interfaces reads Documentation/ABI/testing/sysfs-class-net. What stands for no
// hardware (bridges, tunnels, ends of containers) has no device.
func (l *look) interfaces() []*inventoryv1.NetworkInterface {
	const dir = "sys/class/net"
	var out []*inventoryv1.NetworkInterface
	for _, name := range l.names(dir) {
		if !l.exists(dir, name, "device") {
			continue
		}
		n := &inventoryv1.NetworkInterface{
			Name: valid(name), MacAddress: l.text(dir, name, "address"), Driver: l.link(dir, name, "device/driver"),
			PciAddress: pciOf(l.device(dir, name, "device")), Mtu: l.small(dir, name, "mtu"),
			// Without a link it cannot be read, or is -1.
			SpeedMbps: l.small(dir, name, "speed"),
		}
		// It cannot be read while the interface is down.
		if carrier := l.text(dir, name, "carrier"); carrier != "" {
			there := carrier == "1"
			n.Carrier = &there
		}
		// A driver need not have any, and some say so in these letters.
		if firmware, err := l.devices.NICFirmware(name); err == nil && firmware != "N/A" {
			n.Firmware = valid(firmware)
		}
		out = append(out, n)
	}
	return out
}
