package source

// hetzner is Hetzner Cloud.
//
// Facts, from Hetzner's source for cloud-init (DataSourceHetzner.py): the path, the vendor in DMI, and that user data is text, so that what is
// compressed comes in base64. Whether a server without user data answers 404 or with an empty body is not documented; both are taken.
func hetzner() platform {
	return platform{
		name: "hetzner", title: "Hetzner Cloud",
		is:    func(f Facts) bool { return f.Vendor == "Hetzner" },
		bases: []string{linkLocal},
		fetch: plain("/hetzner/v1/userdata"),
	}
}

// digitalOcean is DigitalOcean.
//
// Facts, from DigitalOcean's "Droplet Metadata API" (the path, 404 for what does not exist, 301 for a folder without its slash) and "How to
// Provide User Data" (it cannot be changed after the Droplet was made); the vendor in DMI is that of cloud-init's ds-identify.
func digitalOcean() platform {
	return platform{
		name: "digitalocean", title: "DigitalOcean",
		is:    func(f Facts) bool { return f.Vendor == "DigitalOcean" },
		bases: []string{linkLocal},
		fetch: plain("/metadata/v1/user-data"),
	}
}
