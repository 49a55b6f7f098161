package inventory

import (
	"strings"
	"testing"
	"unicode/utf8"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
)

func FuzzTable(f *testing.F) {
	f.Add([]byte("\x11\x05\x00\x00\x01DIMM\x00\x00\x7f\x04\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		table := parseTable(data)
		modules, slots := memoryModules(table)
		if len(modules) > int(slots) || int(slots) > len(data)/4 {
			t.Errorf("%d modules in %d slots, of %d bytes", len(modules), slots, len(data))
		}
		for _, m := range modules {
			if m.GetSizeBytes() == 0 || !utf8.ValidString(m.GetLocator()+m.GetPartNumber()) {
				t.Errorf("module %v", m)
			}
		}
		processorWords(table)
		errorCorrection(table)
	})
}

func FuzzCPUInfo(f *testing.F) {
	f.Add("processor\t: 0\nmodel name\t: x\nflags\t\t: aes hypervisor\n\nprocessor\t: 1\nCPU part\t: 0xd0c\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range parseCPUInfo(text) {
			if !utf8.ValidString(p.model+p.vendor+p.microcode) || len(p.features) > len(features) {
				t.Errorf("%+v", p)
			}
		}
		underHypervisor(text)
	})
}

func FuzzProperties(f *testing.F) {
	f.Add([]byte{0x80, 1, 0, 0, 0, 27, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 1, 5, 'I', 'F', 'X', 0})
	f.Fuzz(func(t *testing.T, answer []byte) {
		properties, err := parseProperties(answer)
		if len(properties) > len(answer)/8 {
			t.Errorf("%d properties of %d bytes", len(properties), len(answer))
		}
		tpm := &inventoryv1.TPM{}
		describe(tpm, properties)
		if !utf8.ValidString(tpm.GetManufacturer()+tpm.GetModel()) || err != nil && tpm.GetManufacturer() != "" {
			t.Errorf("%v, %v", tpm, err)
		}
	})
}

// TestStablePlace: the same place, whatever was found first.
func TestStablePlace(t *testing.T) {
	ports := func(name string) string { return map[string]string{"ata1": "1", "ata7": "1"}[name] }
	for _, c := range []struct{ one, other, want string }{
		{"pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0", "pci0000:00/0000:00:17.0/ata7/host6/target6:0:0/6:0:0:0", "pci0000:00/0000:00:17.0/ata-port1/0:0:0"},
		{"pci0000:00/0000:00:01.1/0000:01:00.0/nvme/nvme0", "pci0000:00/0000:00:01.1/0000:01:00.0/nvme/nvme3", "pci0000:00/0000:00:01.1/0000:01:00.0"},
		{"pci0000:00/0000:00:04.0/virtio1", "pci0000:00/0000:00:04.0/virtio4", "pci0000:00/0000:00:04.0"},
		{"pci0000:00/0000:00:14.0/usb1/1-2/1-2.4/1-2.4:1.0/host2/target2:0:0/2:0:0:1", "pci0000:00/0000:00:14.0/usb3/3-2/3-2.4/3-2.4:1.0/host9/target9:0:0/9:0:0:1",
			"pci0000:00/0000:00:14.0/usb/2/2.4/2.4:1.0/0:0:1"},
		{"pci0000:00/0000:00:18.0/host1/port-1:0/end_device-1:0/target1:0:3/1:0:3:0", "pci0000:00/0000:00:18.0/host0/port-0:0/end_device-0:0/target0:0:3/0:0:3:0",
			"pci0000:00/0000:00:18.0/port-0/end_device-0/0:3:0"},
		{"virtual/nvme-subsystem/nvme-subsys0", "virtual/nvme-subsystem/nvme-subsys0", "virtual/nvme-subsystem/nvme-subsys0"},
	} {
		for _, place := range []string{c.one, c.other} {
			if got := stablePlace(place, ports); got != c.want {
				t.Errorf("stablePlace(%q) = %q, want %q", place, got, c.want)
			}
		}
	}
	if got := stablePlace("a/ata3/b", ports); got != "a/ata3/b" {
		t.Errorf("a port without a number: got %q", got)
	}
}

// FuzzText is for what sysfs and procfs say.
func FuzzText(f *testing.F) {
	f.Add("pci0000:00/0000:00:17.0/ata1/host0", "none [integrity]", []byte("\x00\x80\x00\x02ab"))
	f.Fuzz(func(t *testing.T, place, text string, page []byte) {
		if address := pciOf(place); address != "" && (!strings.Contains(place, address) || strings.Contains(address, "/")) {
			t.Errorf("pciOf(%q) = %q", place, address)
		}
		busOf("sda", place)
		if once := stablePlace(place, func(string) string { return "1" }); len(once) > len(place)+len("-port1")*strings.Count(place, "ata") {
			t.Errorf("stablePlace(%q) = %q", place, once)
		}
		if word := parseChosen(text); !strings.Contains(text, word) {
			t.Errorf("parseChosen(%q) = %q", text, word)
		}
		parseMemTotal("MemTotal:" + text)
		if serial := parseUnitSerial(page); !utf8.ValidString(serial) {
			t.Errorf("serial %q", serial)
		}
	})
}
