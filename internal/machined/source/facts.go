package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cyvive/cyvive/internal/machined/boot/cmdline"
)

// Facts are what is known of the machine before anybody is asked: the firmware's words for it, and the kernel command line.
type Facts struct {
	// Vendor, Product, ChassisTag, Serial and UUID are DMI's sys_vendor, product_name, chassis_asset_tag, product_serial and product_uuid;
	// empty where the firmware has none. They are the host's words, and not proven.
	Vendor, Product, ChassisTag, Serial, UUID string
	Args                                      cmdline.Args
}

// maxFactBytes is more than any of the strings has: the kernel makes them from strings of SMBIOS.
const maxFactBytes = 4096

// ReadFacts reads the firmware's words from sysfs, which is mounted at sys. A machine without DMI has none of them.
func ReadFacts(sys string, args cmdline.Args) Facts {
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(sys, "class/dmi/id", name))
		if err != nil || len(data) > maxFactBytes {
			return ""
		}
		return strings.TrimSpace(string(data))
	}
	return Facts{
		Vendor: read("sys_vendor"), Product: read("product_name"), ChassisTag: read("chassis_asset_tag"),
		Serial: read("product_serial"), UUID: read("product_uuid"), Args: args,
	}
}

// platformArg chooses the platform in place of what the firmware says.
const platformArg = "cyvive.platform"

// platform returns the platform of the machine; nil is none of those that are known.
func (f Facts) platform() (*platform, error) {
	all := platforms()
	name, given, err := f.Args.Only(platformArg)
	if err != nil {
		return nil, err
	}
	if !given {
		for i := range all {
			if all[i].is(f) {
				return &all[i], nil
			}
		}
		return nil, nil
	}
	var names []string
	for i := range all {
		if all[i].name == name {
			return &all[i], nil
		}
		names = append(names, all[i].name)
	}
	if name == "none" {
		return nil, nil
	}
	return nil, fmt.Errorf("kernel command line: %s=%q, expected one of %s or none", platformArg, name, strings.Join(names, ", "))
}
