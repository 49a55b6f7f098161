package vm

import (
	"fmt"
	"os"
	"strings"
)

// Firmware is a pair of UEFI images: the code, and a template of the variables.
type Firmware struct{ Code, Vars string }

// firmwares lists where Debian, Fedora and Arch put the builds without Secure
// Boot, by architecture.
func firmwares(arch string) []Firmware {
	if arch == "arm64" {
		return []Firmware{
			{"/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
			{"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
		}
	}
	return []Firmware{
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
		{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	}
}

// secureFirmwares lists those that know Secure Boot, with variables that hold no
// keys: the machine is in setup mode. With SMM they keep their variables from the
// guest, and start only where QEMU offers it; see Config.SMM.
//
// Without SMM it is Debian's plain build, which "technically supports Secure Boot,
// [but] without requiring SMM support from QEMU, so it is less secure"
// (/usr/share/doc/ovmf/README.Debian of 2022.11-6+deb12u2): what is started is
// checked all the same, and a guest that has become root could change by what.
func secureFirmwares(arch string, smm bool) []Firmware {
	switch {
	case arch == "arm64":
		return []Firmware{{"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"}}
	case !smm:
		return []Firmware{{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"}}
	}
	return []Firmware{
		{"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
		{"/usr/share/edk2/x64/OVMF_CODE.secboot.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	}
}

// FindFirmware returns the first pair that is installed on this machine.
func FindFirmware(arch string) (Firmware, error) { return find(firmwares(arch)) }

// FindSecureFirmware is FindFirmware for machines with Secure Boot, which begin in
// setup mode.
func FindSecureFirmware(arch string, smm bool) (Firmware, error) {
	return find(secureFirmwares(arch, smm))
}

func find(list []Firmware) (Firmware, error) {
	var tried []string
	for _, f := range list {
		if readable(f.Code) && readable(f.Vars) {
			return f, nil
		}
		tried = append(tried, f.Code)
	}
	return Firmware{}, fmt.Errorf("find UEFI firmware: none of %s is there", strings.Join(tried, ", "))
}

func readable(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	_ = file.Close()
	return true
}
