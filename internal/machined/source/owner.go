package source

import (
	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/pki"
)

// What names the owner's key, each by its fingerprint or as a whole.
const (
	// ownerArg is a parameter of the kernel command line.
	ownerArg = "cyvive.owner"
	// ownerPrefix begins an OEM string of SMBIOS.
	ownerPrefix = "dev.cyvive.owner="
	// ownerFwCfgName is a file of QEMU's fw_cfg.
	ownerFwCfgName = "opt/dev.cyvive.owner"
)

// maxKeyBytes is more than any public key takes: one of RSA with 16384 bits is 2.9 KiB as PEM.
const maxKeyBytes = 8 << 10

// Owners is what the places say of the owner of the node: the image first, then the kernel command line, the firmware, and the places of the configuration as
// far as Find got.
func (s *Sources) Owners() []maintenance.Claim {
	var claims []maintenance.Claim
	for _, place := range []struct {
		from     string
		measured bool
		read     func() (string, error)
	}{
		{"the image", true, func() (string, error) {
			if s.image == "" {
				return "", nil
			}
			data, err := readFile(s.image, maxKeyBytes)
			return string(data), err
		}},
		{"the kernel command line", true, func() (string, error) {
			text, _, err := s.args.Only(ownerArg)
			return text, err
		}},
		{"SMBIOS", false, func() (string, error) { return oemValue(s.sys, ownerPrefix) }},
		{"QEMU's fw_cfg", false, func() (string, error) {
			data, err := fwCfgFile(s.sys, ownerFwCfgName, maxKeyBytes)
			return string(data), err
		}},
	} {
		text, err := place.read()
		if err == nil && text == "" {
			continue
		}
		c := claim(place.from, text, err)
		c.Measured = place.measured
		claims = append(claims, c)
	}
	return append(claims, s.told...)
}

// claim reads what a place says, unless it could not be read.
func claim(from, text string, err error) maintenance.Claim {
	var key pki.Fingerprint
	if err == nil {
		key, err = pki.ParsePublic(text)
	}
	if err != nil {
		return maintenance.Claim{From: from, Problem: err.Error()}
	}
	return maintenance.Claim{From: from, Key: key}
}

// takeOwner notes what documents say of the owner, and returns the others, nil if there are none.
func (s *Sources) takeOwner(doc *machined.Document) *machined.Document {
	if doc == nil {
		return nil
	}
	owner, rest, err := config.TakeOwner(doc.Name, doc.Data)
	switch {
	case err != nil:
		s.told = append(s.told, maintenance.Claim{From: doc.Name, Problem: err.Error()})
	case owner != nil:
		s.told = append(s.told, maintenance.Claim{From: doc.Name, Key: *owner})
	}
	if rest == nil {
		return nil
	}
	return &machined.Document{Name: doc.Name, Data: rest}
}
