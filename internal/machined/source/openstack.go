package source

import "slices"

// openStack is OpenStack, and clouds made of it.
//
// Facts, from the OpenStack Compute documentation, "Metadata" (the path, 65535 bytes in base64, the label and files of the config drive) and
// Nova's nova/api/metadata/base.py (user_data is 404, and not on the drive, if there is none); from cloud-init's documentation, "OpenStack"
// (the names by which DMI tells it). The drive is looked at first, and on every machine, as it needs no network and its label tells enough; on bare
// metal (Ironic) it is the only sign.
func openStack() platform {
	products := []string{"OpenStack Nova", "OpenStack Compute"}
	tags := append(products[:2:2], "OpenTelekomCloud", "SAP CCloud VM", "HUAWEICLOUD")
	return platform{
		name: "openstack", title: "OpenStack",
		is:    func(f Facts) bool { return slices.Contains(products, f.Product) || slices.Contains(tags, f.ChassisTag) },
		bases: []string{linkLocal},
		fetch: plain("/openstack/latest/user_data"),
	}
}
